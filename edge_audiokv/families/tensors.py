"""The tensors of a checkpoint folder, found and measured without reading any of them."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_audiokv.errors import ModelError
from edge_audiokv.files import read_bounded

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
# safetensors' own bound for a header; indexes of the largest checkpoints have a few MiB.
_MOST_HEADER_BYTES = 100_000_000
_MOST_JSON_BYTES = 64 << 20
_AGAIN = "Download the checkpoint again; clients go on where they stopped."


@dataclass(frozen=True)
class Stored:
    """A tensor as a file holds it. `dtype` is safetensors' name, such as BF16."""

    file: Path
    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a checkpoint. Raises ModelError."""
    try:
        data = json.loads(read_bounded(path, _MOST_JSON_BYTES))
    except OSError as error:
        raise ModelError(f"Cannot read {path}: {error.strerror or error}.", cure=_AGAIN) from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON: {error}.", cure=_AGAIN) from None
    if not isinstance(data, dict):
        raise ModelError(f"{path} holds no JSON object.", cure=_AGAIN)
    return data


def find_tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor of the folder, by name.

    Raises ModelError if there is none, if a file of an index is missing, or if one is cut short.
    """
    index = folder / INDEX
    if not index.is_file():
        if (folder / SINGLE).is_file():
            return read_header(folder / SINGLE)
        raise _without(folder)
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(x, str) for x in places.values()):
        raise ModelError(f"{index} has no weight_map.", cure=_AGAIN)
    shards = sorted({*places.values()})
    missing = [name for name in shards if Path(name).name != name or not (folder / name).is_file()]
    if missing:
        rest = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelError(f"{folder} lacks {missing[0]}{rest}, which its index names.", cure=_AGAIN)
    found = {}
    for name in shards:
        found.update(read_header(folder / name))
    if lost := sorted(places.keys() - found.keys()):
        raise ModelError(f"{folder} lacks {lost[0]}, which its index names.", cure=_AGAIN)
    return found


def read_header(path: Path) -> dict[str, Stored]:
    """The tensors of one safetensors file. Raises ModelError if it is cut short or none."""
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            first = stream.read(8)
            if first.startswith(b"version "):
                raise ModelError(
                    f"{path} is a Git LFS pointer, not the weights.",
                    cure="Run `git lfs pull` in it.",
                )
            length = struct.unpack("<Q", first)[0] if len(first) == 8 else size
            if length > min(size - 8, _MOST_HEADER_BYTES):
                raise ModelError(f"{path} is cut short or no safetensors file.", cure=_AGAIN)
            entries = json.loads(stream.read(length))
        found, end = {}, 0
        for name, entry in entries.items():
            if name != "__metadata__":
                found[name] = Stored(path, str(entry["dtype"]), tuple(map(int, entry["shape"])))
                end = max(end, int(entry["data_offsets"][1]))
    except OSError as error:
        raise ModelError(f"Cannot read {path}: {error.strerror or error}.", cure=_AGAIN) from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise ModelError(f"{path} is no safetensors file.", cure=_AGAIN) from None
    if size < 8 + length + end:
        raise ModelError(
            f"{path} is cut short: it has {size} bytes instead of {8 + length + end}.", cure=_AGAIN
        )
    return found


def _without(folder: Path) -> ModelError:
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
        return ModelError(
            f"{folder} holds weights as pickles, which could run code.",
            cure="Take the checkpoint's safetensors files.",
        )
    half = next(folder.glob("**/*.incomplete"), None)
    what = "weights are only half downloaded" if half else f"has neither {SINGLE} nor {INDEX}"
    return ModelError(
        f"{folder} {'holds no weights yet: its ' if half else ''}{what}.", cure=_AGAIN
    )
