"""Which CPU code is loaded: built in, or the plug-in that suits this CPU best."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_audiokv.errors import NativeError
from edge_audiokv.native import library, variants
from edge_audiokv.native.compute import compute_devices


class Function:
    """A C function as ctypes shows it: its types can be set, and it keeps what it was given."""

    def __init__(self, result: int | None) -> None:
        self.result = result
        self.given: list[Any] = []

    def __call__(self, *given: Any) -> int | None:
        self.given.append(given)
        return self.result


def fake(*, cpu: int | None = None, loads: int | None = 1) -> Any:
    """Bindings of a library that has a CPU device, or none."""
    lib = SimpleNamespace(ggml_backend_dev_by_type=Function(cpu), ggml_backend_load=Function(loads))
    return SimpleNamespace(_lib=lib)


def plug_ins(folder: Path, **scores: int) -> dict[Path, int]:
    """Files of plug-ins with what they say of this CPU."""
    folder = folder.resolve()
    found = {folder / f"libeakv-ggml-cpu-{name}.so": score for name, score in scores.items()}
    for path in found:
        path.touch()
    (folder / "libeakv-ggml-base.so").touch()
    (folder / "libggml-cpu-theirs.so").touch()
    return found


def test_the_best_is_loaded_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = plug_ins(tmp_path, sse42=5, haswell=64, zen4=0, x64=1)
    monkeypatch.setattr(variants, "_score", lambda path, cure: scores[path])
    llama = fake()
    assert variants.load_best(tmp_path, llama, "Mend it.") == "haswell"
    best = str(tmp_path.resolve() / "libeakv-ggml-cpu-haswell.so").encode()
    assert llama._lib.ggml_backend_load.given == [(best,)]


def test_a_cpu_that_is_built_in_is_left_alone(tmp_path: Path) -> None:
    plug_ins(tmp_path, haswell=64)  # empty files, which nothing opens
    llama = fake(cpu=1)
    assert variants.load_best(tmp_path, llama, "Mend it.") is None
    assert llama._lib.ggml_backend_load.given == []


def test_no_code_for_this_cpu_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ggml would then look for plug-ins in the folder where one stands."""
    with pytest.raises(NativeError, match="among its 0 kinds") as caught:
        variants.load_best(tmp_path, fake(), "Mend it.")
    assert caught.value.cure == "Mend it."
    scores = plug_ins(tmp_path, haswell=0, zen4=0)
    monkeypatch.setattr(variants, "_score", lambda path, cure: scores[path])
    with pytest.raises(NativeError, match="among its 2 kinds"):
        variants.load_best(tmp_path, fake(), "Mend it.")


def test_damaged_and_foreign_plug_ins_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = plug_ins(tmp_path, haswell=64)
    (damaged,) = scores
    with pytest.raises(NativeError, match="cannot be loaded") as caught:
        variants.load_best(tmp_path, fake(), "Mend it.")
    assert str(damaged) in caught.value.what and caught.value.cure == "Mend it."
    monkeypatch.setattr(variants, "_score", lambda path, cure: scores[path])
    with pytest.raises(NativeError, match="of another build"):
        variants.load_best(tmp_path, fake(loads=None), "Mend it.")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_in_this_library_one_cpu_computes_whose_code_is_its_own() -> None:
    """Whichever way it was built: EDGE_AUDIOKV_LIB_DIR may name one of the other kind."""
    loaded = library.load()
    assert [device.kind for device in compute_devices()].count("cpu") == 1
    kinds = {
        path.stem.removeprefix("libeakv-ggml-cpu-")
        for path in loaded.directory.glob("libeakv-ggml-cpu-*.so")
    }
    assert loaded.cpu in kinds if kinds else loaded.cpu is None
    assert not any("sapphirerapids" in kind for kind in kinds)
    lines = Path("/proc/self/maps").read_text().splitlines()
    mapped = {Path(line.split()[-1]) for line in lines if "libeakv-ggml-cpu" in line}
    name = f"libeakv-ggml-cpu-{loaded.cpu}.so" if loaded.cpu else "libeakv-ggml-cpu.so"
    assert {path.name for path in mapped} == {name}
    assert all(path.parent == loaded.directory.resolve() for path in mapped)


def test_a_plug_in_without_a_score_is_told() -> None:
    path = next(library.directory().glob("libeakv-ggml-base.*"))
    with pytest.raises(NativeError, match="ggml_backend_score"):
        variants._score(path, "Mend it.")
