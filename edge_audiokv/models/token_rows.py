"""What an LLM reads for single tokens: rows of its table, without loading it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .gguf import read_header


def read_token_rows(path: Path, ids: Sequence[int]) -> NDArray[np.float32]:
    """Rows float32 [N, d_model] of the tokens `ids`, as the LLM in the GGUF at `path` has them.

    Raises ModelError if it has no such rows, or cannot be read.
    """
    # Hundreds of names, for the few models that need them.
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import dequantize

    table = read_header(path).token_table
    if table is None or not all(0 <= token < table.count for token in ids):
        raise ModelError(f"{path} has no rows for all of its tokens.", cure="Fetch it again.")
    try:
        kind = GGMLQuantizationType(table.kind)
        n_numbers, n_bytes = GGML_QUANT_SIZES[kind]
        row_bytes = table.width // n_numbers * n_bytes
        with path.open("rb") as stream:
            rows = []
            for token in ids:
                stream.seek(table.at + token * row_bytes)
                rows.append(np.frombuffer(stream.read(row_bytes), np.uint8))
        made = dequantize(np.stack(rows), kind)
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise ModelError(
            f"The rows of tokens in {path} cannot be read: {error}.",
            cure="Convert the model again, with another type.",
        ) from None
    if made.shape != (len(ids), table.width):
        raise ModelError(
            f"{path} is cut short: rows of tokens are missing.", cure="Fetch it again."
        )
    return np.ascontiguousarray(made, dtype=np.float32)
