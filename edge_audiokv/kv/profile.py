"""Head profiles: how much each KV head matters, measured once a model, as JSON.

{"format": "edge-audiokv-head-profile", "version": 1, "model": NAME, "model_hash": HEX,
 "n_layer": L, "n_kv_head": H, "made_with": COMMAND, "samples": N,
 "tables": {"speech": [[...H] ...L], "sound": ...}}
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_audiokv.errors import PolicyError
from edge_audiokv.files import read_bounded, write_whole
from edge_audiokv.kv.shape import FloatArray, KVShape

FORMAT = "edge-audiokv-head-profile"
VERSION = 1
# Some 100 tables of the largest model.
MAX_BYTES = 16 << 20


@dataclass(frozen=True)
class HeadProfile:
    """Weights float32 [L, H] >= 0 by table name ("speech", "sound"), tied to one model's hash."""

    model: str
    model_hash: str
    tables: dict[str, FloatArray]
    made_with: str = ""
    samples: int = 0
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        return sum(table.nbytes for table in self.tables.values())

    def weights(self, table: str = "speech") -> FloatArray:
        """One table. Raises PolicyError naming those there are."""
        try:
            return self.tables[table]
        except KeyError:
            raise PolicyError(
                f"The head profile has no table {table!r}.",
                cure=f"Choose from {', '.join(sorted(self.tables))}.",
            ) from None

    def check(self, shape: KVShape, model_hash: str | None = None) -> None:
        """Raise PolicyError unless the profile was made for this shape and model."""
        n_layer, n_kv_head = next(iter(self.tables.values())).shape
        if (n_layer, n_kv_head) != (shape.n_layer, shape.n_kv_head):
            raise PolicyError(
                f"The head profile is for {n_layer} layers of {n_kv_head} KV heads, the model has"
                f" {shape.n_layer} of {shape.n_kv_head}.",
                cure="Make one with 'edge-audiokv calibrate'.",
            )
        if model_hash and self.model_hash and model_hash != self.model_hash:
            raise PolicyError(
                f"The head profile was made for another model ({self.model},"
                f" hash {self.model_hash[:16]}, not {model_hash[:16]}).",
                cure="Make one with 'edge-audiokv calibrate'.",
            )

    def save(self, path: Path) -> None:
        """Write the profile; a reader never sees half of it."""
        tables = {
            name: [[round(float(x), 6) for x in row] for row in table]
            for name, table in self.tables.items()
        }
        n_layer, n_kv_head = next(iter(self.tables.values())).shape
        data = {
            "format": FORMAT,
            "version": VERSION,
            "model": self.model,
            "model_hash": self.model_hash,
            "n_layer": n_layer,
            "n_kv_head": n_kv_head,
            "samples": self.samples,
            "made_with": self.made_with,
            "notes": self.notes,
            "tables": tables,
        }
        write_whole(path, json.dumps(data, indent=1) + "\n")


def load_profile(path: Path) -> HeadProfile:
    """Read and check a profile. Raises PolicyError that says what is wrong with it."""
    try:
        text = read_bounded(path, MAX_BYTES)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise PolicyError(
            f"The head profile {path} cannot be read ({why}).",
            cure="Check the path, or make one with 'edge-audiokv calibrate'.",
        ) from None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise PolicyError(f"The head profile {path} is not JSON.", cure="Make it anew.") from None
    try:
        return parse_profile(data)
    except PolicyError as error:
        raise PolicyError(
            f"The head profile {path} is malformed: {error.what}", cure=error.cure
        ) from None


def parse_profile(data: Any) -> HeadProfile:
    """A profile from its JSON object. Raises PolicyError if it does not follow the format."""
    cure = "Make one with 'edge-audiokv calibrate'."
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise PolicyError(f"it is not a {FORMAT}.", cure=cure)
    if data.get("version") != VERSION:
        raise PolicyError(f"version {data.get('version')!r} is not {VERSION}.", cure=cure)
    shape = (data.get("n_layer"), data.get("n_kv_head"))
    tables = data.get("tables")
    if not isinstance(tables, dict) or not tables:
        raise PolicyError("it holds no tables.", cure=cure)
    parsed: dict[str, FloatArray] = {}
    for name, rows in tables.items():
        try:
            with np.errstate(over="ignore"):  # what is too large becomes infinite, and is told
                table = np.asarray(rows, np.float32)
        except (TypeError, ValueError, OverflowError):
            raise PolicyError(f"table {name!r} is not a rectangle of numbers.", cure=cure) from None
        if table.shape != shape:
            raise PolicyError(
                f"table {name!r} is {list(table.shape)}, not {list(shape)}.", cure=cure
            )
        if not np.isfinite(table).all() or (table < 0).any():
            raise PolicyError(f"table {name!r} holds negative or infinite weights.", cure=cure)
        parsed[str(name)] = table
    samples, notes = data.get("samples", 0), data.get("notes", {})
    if not isinstance(samples, int) or not isinstance(notes, dict):
        raise PolicyError("samples must be a whole number, notes an object.", cure=cure)
    return HeadProfile(
        model=str(data.get("model", "")),
        model_hash=str(data.get("model_hash", "")),
        tables=parsed,
        made_with=str(data.get("made_with", "")),
        samples=samples,
        notes={str(k): str(v) for k, v in notes.items()},
    )
