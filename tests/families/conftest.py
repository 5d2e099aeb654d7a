"""Everything here needs the `convert` extra; without it nothing in this folder is collected.

Each family's tiny checkpoint is made and converted once, in 32 bits, for all tests of a file.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

_THERE = all(find_spec(name) for name in ("torch", "transformers", "safetensors", "onnx"))
collect_ignore_glob = [] if _THERE else ["test_*.py"]

if TYPE_CHECKING:
    from edge_audiokv.families.plan import Plan

    from .tiny import Tiny

FAMILIES = (
    *("ultravox", "qwen3_asr", "qwen2_audio", "qwen2_5_omni", "voxtral"),
    *("qwen3_omni", "audio_flamingo", "glm_asr"),
    *("granite_speech", "granite_speech_plus", "phi4_multimodal"),
    *("moss", "music_flamingo", "fun_asr"),
)


@dataclass
class Case:
    """A checkpoint, its plan, its tower with the weights, and the folder that it became."""

    tiny: Tiny
    plan: Plan
    tower: Any
    folder: Path

    @property
    def llm(self) -> Path:
        return self.folder / "llm.F32.gguf"


@pytest.fixture(scope="session", autouse=True)
def quiet() -> None:
    """As the command has it, and one thread: other tests run beside these."""
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, quiet: None) -> Case:
    """Qwen2-Audio, converted as anybody would; code lies in its checkpoint that must not run."""
    from edge_audiokv.families.convert import convert
    from edge_audiokv.families.table import read

    from .tiny import plant_code
    from .windowed import Qwen2Audio

    root = tmp_path_factory.mktemp("made")
    checkpoint = Qwen2Audio(root / "checkpoint")
    plant_code(checkpoint.folder, root / "ran")
    plan = read(checkpoint.folder)
    convert(plan, root / "model", llm_type="F32", encoder_type="f32")
    return Case(checkpoint, plan, plan.tower().eval(), root / "model")


@pytest.fixture(scope="session")
def all_made(tmp_path_factory: pytest.TempPathFactory, quiet: None) -> dict[str, Case]:
    """Every family; one process writes all GGUFs, since its imports take most of the time."""
    from edge_audiokv.families import llm
    from edge_audiokv.families.convert import convert, with_tokenizer
    from edge_audiokv.families.sdist import extract_converter
    from edge_audiokv.families.table import read

    from . import checkpoints as known

    root = tmp_path_factory.mktemp("families")
    converter = extract_converter(root / "converter")
    checkpoints = {kind.name: kind(root / kind.name) for kind in known.ALL}
    plans = {name: read(made.folder, **made.parts()) for name, made in checkpoints.items()}
    ggufs = {id(plan.language.checkpoint): root / f"{name}.gguf" for name, plan in plans.items()}
    jobs = []
    for name, plan in plans.items():
        jobs.append(root / f"{name}.json")
        language = with_tokenizer(plan.language, root / f"{name}-tokenizer")
        job = llm.make_job(language, ggufs[id(language.checkpoint)], "ALL_F32", converter)
        jobs[-1].write_text(json.dumps(job))
    command = [sys.executable, "-P", "-m", "edge_audiokv.families.split", *map(str, jobs)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    cases = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            llm,
            "write_llm",
            lambda language, target, *_, **__: ggufs[id(language.checkpoint)].rename(target),
        )
        for name, plan in plans.items():
            folder = root / f"{name}-model"
            convert(plan, folder, llm_type="F32", encoder_type="f32")
            cases[name] = Case(checkpoints[name], plan, plan.tower().eval(), folder)
    return cases


@pytest.fixture(params=FAMILIES)
def case(request: pytest.FixtureRequest, all_made: dict[str, Case]) -> Case:
    return all_made[request.param]
