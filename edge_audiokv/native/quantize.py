"""Make a smaller GGUF with the library's own quantiser, in a process of its own.

A file that ends the quantiser ends the child alone, and its memory is not the caller's:

    python -m edge_audiokv.native.quantize '{"source": "IN.gguf", "target": "OUT.gguf", ...}'
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_audiokv.errors import InputError, ModelError, OutputError
from edge_audiokv.files import growing
from edge_audiokv.models.cache import file_sha256
from edge_audiokv.models.gguf import GGUFHeader, read_header
from edge_audiokv.models.imatrix import read_imatrix
from edge_audiokv.native.library import load

_FTYPE = "LLAMA_FTYPE_"
_TENSOR = "GGML_TYPE_"
_PROGRESS = re.compile(r"\[\s*(\d+)/\s*(\d+)\]")
_SIZE = re.compile(r"quant size\s*=\s*([\d.]+) Mi?B \(([\d.]+) BPW\)")
_MOST_TEXT = 127  # of what llama.cpp takes as a value
_FAILED = re.compile(r"failed to quantize: (.*)")


@dataclass(frozen=True)
class Quantized:
    """What became of a file. `tensors` counts tensors by type; `bits_per_weight` is of all weights.

    A dry run knows sizes, whether an importance matrix is needed, which would be refused, and
    neither `path`'s hash nor its tensors.
    """

    type: str
    path: str
    file_bytes: int
    bits_per_weight: float
    sha256: str = ""
    tensors: tuple[tuple[str, int], ...] = ()
    needs_imatrix: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "tensors": dict(self.tensors)}


def file_types() -> dict[str, int]:
    """Names of whole-file types such as "Q4_K_M", as this llama.cpp has them, with its numbers."""
    names = {}
    llama = load().llama
    for attribute in dir(llama):
        if attribute.startswith(_FTYPE):
            name = attribute.removeprefix(_FTYPE).removeprefix("MOSTLY_").removeprefix("ALL_")
            if name != "GUESSED":
                names[name] = int(getattr(llama, attribute))
    return dict(sorted(names.items(), key=lambda item: item[1]))


def tensor_types() -> dict[str, int]:
    """Names of single tensors' types such as "Q8_0", with ggml's numbers."""
    import gguf

    return {kind.name: int(kind) for kind in gguf.GGMLQuantizationType}


def number_of(name: str, known: dict[str, int]) -> int:
    """The number of a type, in any case of letters. Raises InputError with what there is."""
    if name.upper() not in known:
        raise InputError(f"There is no type {name!r}.", cure=f"Use one of {', '.join(known)}.")
    return known[name.upper()]


def quantize(
    source: Path,
    target: Path,
    type_name: str,
    *,
    threads: int = 1,
    output_type: str | None = None,
    embedding_type: str | None = None,
    imatrix: Path | None = None,
    dry_run: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Quantized:
    """Write `source` with weights of `type_name` to `target`, whole or not at all.

    Weights that are quantised already are taken as they are and rounded once more. `output_type`
    and `embedding_type` are those of the word head and the token table. With `imatrix`, a file of
    `models.imatrix`, errors are weighed by how strongly an input is driven. `progress` is told
    tensors done and in all. Raises InputError for an unknown type, ModelError if the file cannot be
    quantised (very small types need an importance matrix) or the matrix is of another model,
    OSError if it cannot be written.
    """
    job = {
        "source": str(source),
        "ftype": number_of(type_name, file_types()),
        "threads": threads,
        "output": number_of(output_type, tensor_types()) if output_type else None,
        "embedding": number_of(embedding_type, tensor_types()) if embedding_type else None,
        "dry_run": dry_run,
        "imatrix": str(imatrix) if imatrix is not None else None,
    }
    header = read_header(source)  # what is no GGUF is told in its own words
    if imatrix is not None:
        check_imatrix(imatrix, header)
    if dry_run:
        size_mib, bits, needs = _in_child({**job, "target": os.devnull}, source, progress)
        file_bytes = int(size_mib * 2**20)
        return Quantized(type_name.upper(), str(target), file_bytes, bits, needs_imatrix=needs)
    with growing(target) as part:
        _, bits, _ = _in_child({**job, "target": str(part)}, source, progress)
        digest, header = file_sha256(part), read_header(part)
    tensors = tuple(header.tensor_types.items())
    return Quantized(type_name.upper(), str(target), header.file_bytes, bits, digest, tensors)


def check_imatrix(path: Path, header: GGUFHeader) -> None:
    """Raise ModelError unless `path` is an importance matrix of the model of `header`."""
    if not set(read_imatrix(path).sums) & set(header.tensor_bytes):
        raise ModelError(
            f"{path} is of another model: it names no matrix of {header.path.name}.",
            cure="Gather one with `edge-audiokv imatrix` and this model.",
        )


def _in_child(
    job: dict[str, Any], source: Path, progress: Callable[[int, int], None]
) -> tuple[float, float, bool]:
    """MiB of the weights, bits a weight, and whether an importance matrix is needed."""
    found, needs, why, last = None, False, "", "the quantiser ended without a word"
    with subprocess.Popen(
        # -P: what lies where we stand is nobody's module.
        [sys.executable, "-P", "-m", "edge_audiokv.native.quantize", json.dumps(job)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "GGML_NO_BACKTRACE": "1", "PYTHONWARNINGS": "ignore"},
    ) as child:
        try:
            for line in child.stdout or ():
                if match := _PROGRESS.search(line):
                    progress(int(match[1]), int(match[2]))
                if match := _SIZE.search(line):
                    found = float(match[1]), float(match[2])
                needs = needs or "will require an imatrix" in line
                last = line.strip() or last
                if match := _FAILED.search(line):
                    why = match[1].strip()
        except BaseException:
            child.kill()
            raise
    if child.returncode != 0 or found is None:
        if "iostream error" in why:  # what C++ says of a disk that is full
            raise OutputError(
                f"{job['target']} cannot be written.",
                cure="Free some space or name a folder on another disk.",
            )
        if child.returncode < 0:
            why = f"llama.cpp stopped at it (signal {-child.returncode}; {last})"
        raise ModelError(
            f"{source} cannot be quantised: {(why or last).rstrip('!.')}.",
            cure="Take another type, or a GGUF of F16 or BF16 weights.",
        )
    return *found, needs


class _Lines(logging.Handler):
    """llama.cpp's log, line by line, to whoever started this process."""

    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), flush=True)


def _main(text: str) -> int:
    job = json.loads(text)
    logging.getLogger("edge_audiokv").setLevel(logging.DEBUG)
    logging.getLogger("edge_audiokv").addHandler(_Lines())
    llama = load().llama
    params = llama.llama_model_quantize_default_params()
    params.nthread, params.ftype = job["threads"], job["ftype"]
    params.allow_requantize, params.dry_run = True, job["dry_run"]
    if job["output"] is not None:
        params.output_tensor_type = job["output"]
    if job["embedding"] is not None:
        params.token_embedding_type = job["embedding"]
    if job["imatrix"] is not None:
        _put_imatrix(llama, params, Path(job["imatrix"]))
    names = os.fsencode(job["source"]), os.fsencode(job["target"])
    return int(llama.llama_model_quantize(*names, ctypes.byref(params)) != 0)


def _put_imatrix(llama: Any, params: Any, path: Path) -> None:
    """Into the parameters, and what it is into the file to be made, under llama.cpp's own keys."""
    found = read_imatrix(path)
    means = found.means()
    entries = (llama.llama_model_imatrix_data * (len(means) + 1))()
    for entry, (name, values) in zip(entries, means.items(), strict=False):
        entry.name, entry.size = name.encode(), values.size
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    facts: list[tuple[str, str | int]] = [
        ("file", path.name),
        ("dataset", ", ".join(found.datasets)),
        ("entries_count", len(means)),
        ("chunks_count", found.n_chunks),
    ]
    overrides = (llama.llama_model_kv_override * (len(facts) + 1))()
    for override, (key, value) in zip(overrides, facts, strict=False):
        override.key = f"quantize.imatrix.{key}".encode()
        if isinstance(value, int):
            override.tag, override.value.val_i64 = llama.LLAMA_KV_OVERRIDE_TYPE_INT, value
        else:
            override.tag = llama.LLAMA_KV_OVERRIDE_TYPE_STR
            override.value.val_str = value.encode()[:_MOST_TEXT]
    params.imatrix, params.kv_overrides = entries, overrides
    params._kept = means  # C reads them while it quantises


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
