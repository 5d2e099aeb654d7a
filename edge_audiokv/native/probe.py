"""Try a GGUF file in a process of its own, so that nothing in it can end ours.

llama.cpp takes some contents of a file for mistakes of the programmer: an assertion fails and the
process is gone. Our reader (`models/gguf.py`) refuses what we know of, with the reason; for the
rest a child loads the file, makes a cache, reads a text and decodes it, before we do the same.
What passed is remembered by the file's header (all metadata, names, shapes and types) and size, so
a file pays once: what only tensor data decides is numbers, and numbers end nothing.

    python -m edge_audiokv.native.probe MODEL.gguf [LORA.gguf]
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from edge_audiokv.errors import ModelError
from edge_audiokv.models.cache import cache_directory, write_atomic
from edge_audiokv.models.gguf import read_header
from edge_audiokv.models.usable import check_usable
from edge_audiokv.native.library import describe_library

TIMEOUT_S = 120.0
MAX_REMEMBERED = 256
# Address space beside the files: Python, numpy and llama.cpp, with room to spare.
_SPARE_BYTES = 8 << 30
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
    remembered = _remembered()
    if name in remembered:
        return
    check_usable(read_header(model, check_tokens=True))
    try:
        child = subprocess.run(
            [sys.executable, "-m", "edge_audiokv.native.probe", *map(str, paths)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            env={**os.environ, "GGML_NO_BACKTRACE": "1", "PYTHONWARNINGS": "ignore"},
        )
    except subprocess.TimeoutExpired:
        raise _unusable(model, f"it was not loaded within {TIMEOUT_S:.0f} s") from None
    if child.returncode == 0:
        with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
            kept = [*remembered, name][-MAX_REMEMBERED:]
            write_atomic(_path(), json.dumps(kept, indent=1).encode())
        return
    said = child.stdout.decode("utf-8", "replace").strip()
    if child.returncode == 1 and said.startswith("{"):
        told = json.loads(said.splitlines()[-1])
        raise ModelError(told["what"], cure=told["cure"])
    raise _unusable(model, _reason(child.stderr.decode("utf-8", "replace"), child.returncode))


def _unusable(model: Path, why: str) -> ModelError:
    return ModelError(
        f"{model} cannot be used: {why}.", cure="Fetch it again, or take another GGUF file."
    )


def _reason(words: str, code: int) -> str:
    """What llama.cpp said when it gave up, in one line."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    telling = [line for line in lines if "ASSERT" in line or "rror" in line or "what()" in line]
    line = (telling or lines or [f"it ended a process with code {code}"])[-1]
    line = re.sub(r"^\S*/(\S+:\d+): ", r"\1: ", line)
    return "llama.cpp gives up on it: " + "".join(c for c in line if c.isprintable())[:160].rstrip(
        "."
    )


def _path() -> Path:
    return cache_directory() / "probed.json"


def _remembered() -> list[str]:
    try:
        names = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(names, list):
        return []
    return [name for name in names if isinstance(name, str)]


def _bound(paths: list[Path]) -> None:
    """No memory without end, no processor time without end, no core dump; where there is POSIX."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        most_bytes = _SPARE_BYTES + 4 * sum(path.stat().st_size for path in paths)
        resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (int(TIMEOUT_S), int(TIMEOUT_S) + 5))


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


def _main(arguments: list[str]) -> int:
    from edge_audiokv.errors import EdgeAudioKVError

    paths = [Path(argument) for argument in arguments]
    _bound(paths)
    try:
        _try(paths[0], paths[1] if len(paths) > 1 else None)
    except EdgeAudioKVError as error:
        print(json.dumps({"what": error.what, "cure": error.cure}))
        return 1
    except MemoryError:
        print(
            json.dumps({"what": f"{paths[0]} asks for too much memory.", "cure": "Take another."})
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
