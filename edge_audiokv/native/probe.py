"""Try a GGUF file in a process of its own, so that nothing in it can end ours.

llama.cpp takes some contents of a file for mistakes of the programmer: an assertion fails and the
process is gone. Our reader (`models/gguf.py`) refuses what we know of, with the reason; for the
rest a child loads the file, makes a cache, reads a text and decodes it, before we do the same.
What passed is remembered by the file's header (all metadata, names, shapes and types) and size, so
a file pays once: what only tensor data decides is numbers, and numbers end nothing.

    python -m edge_audiokv.native.probe MODEL.gguf [LORA.gguf]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from edge_audiokv.models.gguf import read_header
from edge_audiokv.models.tried import answer, has_passed, remember, run_child
from edge_audiokv.models.usable import check_usable
from edge_audiokv.native.library import describe_library

# Every byte that UTF-8 can hold: a vocabulary may lack some.
_POINTS = (
    *range(1, 256),
    *range(0x80, 0x800, 0x40),
    *(0x800, *range(0x1000, 0xD000, 0x1000), 0xE000, 0xF000),
    *(0x10000, 0x40000, 0x80000, 0xC0000, 0x100000),
)
_TEXT = "<|im_start|>user\nA first test, 1 2 3.<|im_end|>\n" + "".join(map(chr, _POINTS))


def check_in_child(model: Path, lora: Path | None = None) -> None:
    """Raise ModelError if loading these files ends a process, hangs, or is refused."""
    paths = [model] if lora is None else [model, lora]
    # Another llama.cpp may have other asserts.
    name = ":".join([describe_library(), *(read_header(path).model_hash for path in paths)])
    if has_passed(name):
        return
    check_usable(read_header(model, check_tokens=True))
    run_child(
        "edge_audiokv.native.probe", [*map(str, paths)], model, kind="GGUF file", reason=_reason
    )
    remember(name)


def _reason(words: str, code: int) -> str:
    """What llama.cpp said when it gave up, in one line."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    telling = [line for line in lines if "ASSERT" in line or "rror" in line or "what()" in line]
    line = (telling or lines or [f"it ended a process with code {code}"])[-1]
    line = re.sub(r"^\S*/(\S+:\d+): ", r"\1: ", line)
    return "llama.cpp gives up on it: " + "".join(c for c in line if c.isprintable())[:160].rstrip(
        "."
    )


def _try(model_path: Path, lora_path: Path | None) -> None:
    import numpy as np

    from edge_audiokv.native.context import HeadwiseContext
    from edge_audiokv.native.model import Model

    with Model(model_path, lora=lora_path) as model:
        ids = model.tokenize(_TEXT, bos=True)[:24]
        model.tokenize(_TEXT, special=False)
        for token in range(model.n_vocab):
            model.piece(token)
            model.is_end_of_generation(token)
        with HeadwiseContext(model, 64, n_batch=32, score_window=4, n_threads=1) as context:
            context.decode_embeddings(np.zeros((2, model.n_embd), np.float32))
            context.decode_tokens(ids or [0], score=True)
            context.decode_tokens([min(1, model.n_vocab - 1)])


if __name__ == "__main__":
    _paths = [Path(argument) for argument in sys.argv[1:]]
    sys.exit(answer(_paths, lambda: _try(_paths[0], _paths[1] if len(_paths) > 1 else None)))
