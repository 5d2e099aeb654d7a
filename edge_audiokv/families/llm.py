"""The language model of a plan as one GGUF of any type that the library makes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_audiokv.errors import InputError, ModelError, OutputError
from edge_audiokv.families.plan import Language
from edge_audiokv.families.sdist import extract_converter
from edge_audiokv.families.steps import Steps
from edge_audiokv.native.quantize import file_types, number_of, quantize

# What the converter writes itself; all else is quantised from 16 bits.
DIRECT = {
    "F32": "ALL_F32",
    "F16": "MOSTLY_F16",
    "BF16": "MOSTLY_BF16",
    "Q8_0": "MOSTLY_Q8_0",
}
# Bits a weight, as llama.cpp's own tables have them for models of some 10^9 weights.
_BITS = {"F32": 32.0, "F16": 16.0, "BF16": 16.0, "Q8_0": 8.5, "Q6_K": 6.56, "Q5_K_M": 5.69}
_BITS |= {"Q5_K_S": 5.54, "Q4_K_M": 4.89, "Q4_K_S": 4.58, "Q4_0": 4.55, "IQ4_XS": 4.25}
_POLL_S = 0.1
_MIDDLE = "middle"
_MOST_LOG_BYTES, _MOST_LINES = 64 << 10, 20

_log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""What is done, how far, of how much."""


def check_type(name: str) -> str:
    """The name of a type of GGUF as the library has it. Raises InputError with what there is."""
    if name.upper() in DIRECT:
        return name.upper()
    number_of(name, file_types())
    if name.upper() not in _BITS:
        raise InputError(
            f"{name} is made in a second step: it needs an importance matrix, or is rarely wanted.",
            cure=f"Use one of {', '.join(_BITS)}; `edge-audiokv quantize` makes the others.",
        )
    return name.upper()


def estimated_bytes(language: Language, type_name: str) -> int:
    """About how large the GGUF will be."""
    return int(language.count * _BITS[type_name] / 8) + (8 << 20)


def write_llm(
    language: Language,
    target: Path,
    type_name: str,
    *,
    threads: int = 1,
    progress: Progress = lambda what, done, total: None,
    steps: Steps | None = None,
) -> None:
    """Write `target`. The folder that it lies in also holds what is needed on the way; with `steps`
    that stays there if it is broken off, and what is done already is not done again.

    Raises ModelError if the converter refuses, OutputError if the disk is full.
    """

    def write(path: Path, kind: str) -> None:
        size = estimated_bytes(language, kind)
        _convert(language, path, DIRECT[kind], size, progress)

    if type_name in DIRECT:
        _step(steps, "llm", target, lambda: write(target, type_name))
        return
    # bfloat16 keeps every weight of a bfloat16 checkpoint as it is; float16 has three bits more for
    # what an adapter has changed.
    dtypes = {stored.dtype for stored in language.checkpoint.tensors.values()}
    middle_type = "BF16" if "BF16" in dtypes and language.adapter is None else "F16"
    middle = target.with_name("middle.gguf")

    def make() -> None:
        _step(steps, _MIDDLE, middle, lambda: write(middle, middle_type))
        quantize(
            middle,
            target,
            type_name,
            threads=threads,
            progress=lambda done, total: progress(f"quantise to {type_name}", done, total),
        )

    try:
        _step(steps, "llm", target, make)
    finally:
        if steps is None:
            middle.unlink(missing_ok=True)
    if steps is not None:
        steps.forget(_MIDDLE)


def _step(steps: Steps | None, name: str, path: Path, make: Callable[[], None]) -> None:
    def made() -> tuple[Path, ...]:
        make()
        return (path,)

    if steps is None:
        made()
    else:
        steps(name, made)


def make_job(language: Language, target: Path, ftype: str, converter: Path) -> dict[str, Any]:
    """What the process that writes the GGUF is told; see `split`."""
    return {
        "converter": str(converter.resolve()),
        "folder": str(language.checkpoint.folder.resolve()),
        "tokenizer": str(language.tokenizer.resolve()),
        "target": str(target.resolve()),
        "architecture": language.architecture,
        "config": language.config,
        "prefixes": language.prefixes,
        "adapter": _adapter_job(language),
        "ftype": ftype,
    }


def _adapter_job(language: Language) -> dict[str, Any] | None:
    adapter = language.adapter
    if adapter is None:
        return None
    return {"file": str(adapter.file.resolve()), "scale": adapter.scale, "pairs": adapter.pairs}


def _convert(
    language: Language, target: Path, ftype: str, size_bytes: int, progress: Progress
) -> None:
    """Run the converter and watch its file grow."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        job = make_job(language, target, ftype, extract_converter(Path(scratch)))
        job_path, log_path = Path(scratch) / "job.json", Path(scratch) / "log"
        job_path.write_text(json.dumps(job), encoding="utf-8")
        with log_path.open("wb") as log:
            child = subprocess.Popen(
                # -P: what lies where we stand is nobody's module.
                [sys.executable, "-P", "-m", "edge_audiokv.families.split", str(job_path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"},
            )
            try:
                while child.poll() is None:
                    done = target.stat().st_size if target.is_file() else 0
                    progress("write the LLM", min(done, size_bytes), size_bytes)
                    time.sleep(_POLL_S)
            except BaseException:
                child.kill()
                child.wait()
                raise
        lines = _last_lines(log_path)
    why = lines[-1].rstrip(".")
    if child.returncode != 0:
        _log.info("the converter said: %s", " | ".join(lines[-_MOST_LINES:]))
    if child.returncode == 3:
        raise OutputError(f"{target.name} {why}.", cure="Free some space, or name another disk.")
    if child.returncode != 0:
        raise ModelError(
            f"The language model in {language.checkpoint.folder} cannot be converted: {why}.",
            cure="Download the checkpoint again; -v shows what the converter said.",
        )


def _last_lines(log: Path) -> list[str]:
    """What a child said in the end, at least one line."""
    with log.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - _MOST_LOG_BYTES))
        lines = stream.read().decode("utf-8", "replace").strip().splitlines()
    return [line.strip() for line in lines] or ["it ended without a word"]
