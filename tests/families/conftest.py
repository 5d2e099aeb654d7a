"""Everything here needs the `convert` extra; without it nothing in this folder is collected.

Each family's tiny checkpoint is made and converted once, in 32 bits, for all tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
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
    *("audio_flamingo", "glm_asr"),
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
def cases(tmp_path_factory: pytest.TempPathFactory, quiet: None) -> Callable[[str], Case]:
    """Each family's case, made when it is first asked for."""
    from edge_audiokv.families.convert import convert
    from edge_audiokv.families.table import read

    from . import tiny

    @cache
    def make(name: str) -> Case:
        root = tmp_path_factory.mktemp(name)
        made = next(kind for kind in tiny.ALL if kind.name == name)(root / "checkpoint")
        plan = read(made.folder, **made.parts())
        convert(plan, root / "model", llm_type="F32", encoder_type="f32")
        return Case(made, plan, plan.tower().eval(), root / "model")

    return make


@pytest.fixture(params=FAMILIES)
def case(request: pytest.FixtureRequest, cases: Callable[[str], Case]) -> Case:
    return cases(request.param)
