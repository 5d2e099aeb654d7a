"""Importance matrices: how strongly each input of each weight matrix is driven, as a GGUF.

The format is llama.cpp's (tools/imatrix): of every matrix `NAME` the sums of the squares of its
inputs, `NAME.in_sum2` [M, N], and how many rows were summed, `NAME.counts` [M, 1]; M is 1 but for
experts. Files go either way: llama.cpp's tools read ours, and we read theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..files import growing
from .gguf import read_header

TYPE = "imatrix"
SUMS, COUNTS = ".in_sum2", ".counts"
_CURE = "Make one with `edge-audiokv imatrix`, or with llama-imatrix as GGUF."


@dataclass(frozen=True)
class Imatrix:
    """`sums` float32 [M, N] and `counts` float32 [M] by the name of the matrix.

    `datasets` names what was read, in `n_chunks` parts of `chunk_tokens` at most.
    """

    sums: Mapping[str, NDArray[np.float32]]
    counts: Mapping[str, NDArray[np.float32]]
    datasets: tuple[str, ...] = ()
    n_chunks: int = 0
    chunk_tokens: int = 0

    def means(self) -> dict[str, NDArray[np.float32]]:
        """What the quantiser weighs errors by: mean squares [M * N], 1 where nothing was seen."""
        found = {}
        for name, sums in self.sums.items():
            counts = self.counts[name][:, None]
            seen = counts > 0
            means = np.where(seen, sums / np.where(seen, counts, 1), 1)
            found[name] = np.ascontiguousarray(means.ravel(), dtype=np.float32)
        return found

    def save(self, path: Path) -> None:
        """Write `path`, whole or not at all. Raises OSError."""
        from gguf import GGUFWriter

        with growing(path) as part:
            writer = GGUFWriter(part, TYPE)
            writer.add_type(TYPE)
            writer.add_array("imatrix.datasets", list(self.datasets))
            writer.add_uint32("imatrix.chunk_count", self.n_chunks)
            writer.add_uint32("imatrix.chunk_size", self.chunk_tokens)
            for name in sorted(self.sums):
                writer.add_tensor(name + SUMS, np.asarray(self.sums[name], np.float32))
                writer.add_tensor(name + COUNTS, np.asarray(self.counts[name], np.float32)[:, None])
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()


def read_imatrix(path: Path) -> Imatrix:
    """What `path` holds. Raises ModelError for what is no importance matrix, or a damaged one."""
    from gguf import GGUFReader

    header = read_header(path)
    if header.keys.get("general.type") != TYPE:
        raise ModelError(f"{path} is no importance matrix.", cure=_CURE)
    try:
        reader = GGUFReader(path)
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        field = reader.get_field("imatrix.datasets")
        datasets = tuple(map(str, field.contents())) if field is not None else ()
    except (ValueError, KeyError, IndexError, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from None
    sums, counts = {}, {}
    for name, tensor in tensors.items():
        if not name.endswith(SUMS):
            continue
        base = name.removesuffix(SUMS)
        other = tensors.get(base + COUNTS)
        if other is None or {tensor.tensor_type.name, other.tensor_type.name} != {"F32"}:
            raise _damaged(path, f"{base} lacks counts, or is not of F32")
        # Copies: the reader maps the file.
        count = np.array(other.data, np.float32).ravel()
        values = np.array(tensor.data, np.float32).ravel()
        if not count.size or not values.size or values.size % count.size:
            raise _damaged(path, f"{base} has {values.size} sums for {count.size} counts")
        if (
            not (np.isfinite(values).all() and np.isfinite(count).all())
            or min(values.min(), count.min()) < 0
        ):
            raise _damaged(path, f"{base} holds numbers that no sum of squares has")
        sums[base], counts[base] = values.reshape(count.size, -1), count
    if not sums:
        raise _damaged(path, "it names no matrix")
    n_chunks, chunk_tokens = (
        value if isinstance(value := header.keys.get(f"imatrix.{key}"), int) else 0
        for key in ("chunk_count", "chunk_size")
    )
    return Imatrix(sums, counts, datasets, n_chunks, chunk_tokens)


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(f"{path} is a damaged importance matrix: {why}.", cure=_CURE)
