"""The cells of a comparison: type of weights x types of rows x policy x share of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edge_audiokv.errors import InputError, PolicyError
from edge_audiokv.eval.comparison import variant
from edge_audiokv.native.quantize import file_types, number_of
from edge_audiokv.units import parse_share

BASE = "base"
FULL = "keep-all"
ROW_TYPES = ("f16", "q8_0", "q4_0")


@dataclass(frozen=True)
class Cell:
    """`weights` is "base" or a type of GGUF; `policy` may have options: "snapkv window=16"."""

    weights: str
    type_k: str
    type_v: str
    policy: str
    share: float

    @property
    def rows(self) -> str:
        """Types of key and value rows, in one word if they are the same."""
        return self.type_k if self.type_k == self.type_v else f"{self.type_k}/{self.type_v}"

    @property
    def name(self) -> str:
        kept = "all rows" if self.share >= 1 else f"{self.policy} {self.share:.0%}"
        return f"{self.weights}, KV {self.rows}, {kept}"

    @property
    def n_changes(self) -> int:
        """How many of weights, rows and eviction differ from the base."""
        return (self.weights != BASE) + (self.rows != "f16") + (self.share < 1)

    def parts(self) -> list[Cell]:
        """The cells that have one of its changes alone."""
        single = (
            Cell(self.weights, "f16", "f16", FULL, 1.0),
            Cell(BASE, self.type_k, self.type_v, FULL, 1.0),
            Cell(BASE, "f16", "f16", self.policy, self.share),
        )
        return [cell for cell in single if cell != BASE_CELL]


BASE_CELL = Cell(BASE, "f16", "f16", FULL, 1.0)


def cell_of(row: dict[str, Any]) -> Cell:
    """The cell that a row was measured in."""
    return Cell(row["weights"], row["type_k"], row["type_v"], row["policy"], row["share"])


@dataclass(frozen=True)
class Grid:
    """What was asked for, in the order of the command line."""

    weights: tuple[str, ...]
    rows: tuple[tuple[str, str], ...]
    policies: tuple[str, ...]
    shares: tuple[float, ...]

    def cells(self) -> list[Cell]:
        """Every cell once, the base first, then weights by weights. With all rows kept no policy
        has anything to do.
        """
        return list(dict.fromkeys((BASE_CELL, *self._all())))

    def _all(self) -> Iterator[Cell]:
        for weights in self.weights:
            for type_k, type_v in self.rows:
                for share in self.shares:
                    for policy in self.policies:
                        whole = share >= 1 or policy == FULL
                        yield Cell(
                            weights, type_k, type_v, *((FULL, 1.0) if whole else (policy, share))
                        )


def read_grid(
    weights: str, rows: str, policies: str, shares: str, faults: list[str]
) -> Grid | None:
    """The grid of four lists with commas; what is wrong with any of them is added to `faults`."""
    n_faults = len(faults)
    types = [name if name == BASE else name.upper() for name in _items(weights)]
    known = file_types()
    for name in types:
        try:
            if name != BASE:
                number_of(name, known)
        except InputError as error:
            faults.append(f"--types: {error.what.rstrip('.')} ({error.cure})")
    pairs = []
    for item in _items(rows):
        type_k, _, type_v = item.lower().partition("/")
        pairs.append((type_k, type_v or type_k))
        if not {*pairs[-1]} <= {*ROW_TYPES}:
            faults.append(
                f"--kv-types: {item!r} is none of {', '.join(ROW_TYPES)}, nor two of them"
            )
    found = []
    for item in _items(policies):
        try:
            variant(item, None)
            found.append(item)
        except PolicyError as error:
            faults.append(f"--policies: {error}")
    numbers = []
    for item in _items(shares):
        try:
            numbers.append(parse_share(item))
        except ValueError as error:
            faults.append(f"--budgets: {error}")
    given = {"types": types, "kv-types": pairs, "policies": found, "budgets": numbers}
    if len(faults) == n_faults:
        faults += [f"--{name} names none" for name, items in given.items() if not items]
    if len(faults) > n_faults:
        return None
    return Grid(tuple(types), tuple(pairs), tuple(found), tuple(numbers))


def _items(text: str) -> Sequence[str]:
    return [item.strip() for item in text.split(",") if item.strip()]
