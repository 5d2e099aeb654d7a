"""CMakePresets.json: every preset sets variables that there are, to values that they take."""

from __future__ import annotations

import importlib.util
import json
import re
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
PRESETS = json.loads((ROOT / "CMakePresets.json").read_text(encoding="utf-8"))
BY_NAME = {preset["name"]: preset for preset in PRESETS["configurePresets"]}
# What CMake itself documents and the presets may set.
OF_CMAKE = {
    "CMAKE_BUILD_TYPE",
    "CMAKE_CUDA_ARCHITECTURES",
    "CMAKE_CXX_COMPILER",
    "CMAKE_C_COMPILER",
    "CMAKE_SYSTEM_NAME",
    "CMAKE_SYSTEM_PROCESSOR",
}


def variables(name: str) -> dict[str, str]:
    """Of a preset and what it inherits."""
    preset = BY_NAME[name]
    parent = variables(preset["inherits"]) if "inherits" in preset else {}
    return {**parent, **preset.get("cacheVariables", {})}


@pytest.fixture(scope="module")
def options_of_ggml() -> set[str]:
    """The options that ggml declares, in the sources that the build takes."""
    spec = importlib.util.spec_from_file_location("upstream", ROOT / "cmake" / "upstream.py")
    assert spec and spec.loader
    upstream = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(upstream)
    with tarfile.open(upstream.find_sdist(upstream.read_pin(ROOT / "patches"), "")) as sdist:
        for member in sdist:
            if member.name.endswith("/vendor/llama.cpp/ggml/CMakeLists.txt"):
                file = sdist.extractfile(member)
                assert file is not None
                return set(re.findall(r"(?m)^option\((GGML_\w+)", file.read().decode()))
    raise AssertionError("the sdist holds no ggml")


def test_every_variable_is_one(options_of_ggml: set[str]) -> None:
    ours = set(re.findall(r"(?m)^edge_audiokv_option\((\w+)", CMAKE))
    assert len(ours) >= 6 and "GGML_NATIVE" in options_of_ggml
    named = {name for preset in BY_NAME for name in variables(preset)}
    assert named <= ours | OF_CMAKE | options_of_ggml
    assert "GGML_CUDA_NO_VMM" in named & options_of_ggml
    # What CMakeLists.txt decides itself, by force, a preset cannot.
    assert not named & set(re.findall(r"set\((GGML_\w+) .*FORCE", CMAKE))


def test_every_kind_of_build_has_a_preset_of_its_own_folder() -> None:
    shown = [name for name, preset in BY_NAME.items() if not preset.get("hidden")]
    (choices,) = re.findall(r"MATCHES \"\^\(([a-z|]+)\)\$\"", CMAKE)
    assert {variables(name)["EDGE_AUDIOKV_BACKEND"] for name in shown} == set(choices.split("|"))
    assert [preset["name"] for preset in PRESETS["buildPresets"]] == [
        preset["configurePreset"] for preset in PRESETS["buildPresets"]
    ]
    assert {preset["name"] for preset in PRESETS["buildPresets"]} == set(shown)
    assert BY_NAME["release"]["binaryDir"].endswith("/build/${presetName}")
    # A preset that the oldest CMake of the build cannot read is none.
    (oldest,) = re.findall(r"cmake_minimum_required\(VERSION 3\.(\d+)\)", CMAKE)
    assert PRESETS["cmakeMinimumRequired"]["minor"] == int(oldest) and PRESETS["version"] == 5


@pytest.mark.parametrize(("name", "architecture"), [("jetson-orin", "87"), ("jetson-thor", "110")])
def test_a_jetson_gets_code_for_its_gpu_and_no_address_space_of_32_gb(
    name: str, architecture: str
) -> None:
    found = variables(name)
    assert found["EDGE_AUDIOKV_BACKEND"] == "cuda"
    assert found["CMAKE_CUDA_ARCHITECTURES"] == architecture
    assert found["GGML_CUDA_NO_VMM"] == "ON"


def test_what_is_told_of_presets_is_there() -> None:
    texts = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    told = re.findall(
        r"--preset[= ]([\w-]+)", "\n".join(path.read_text(encoding="utf-8") for path in texts)
    )
    assert {"jetson-orin", "jetson-thor"} <= set(told) <= set(BY_NAME)
