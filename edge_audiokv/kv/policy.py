"""Policies: a name, options (dataclass fields), and the steps it overrides.

    score -> smooth -> protect -> allocate -> select -> keep

`score(view)` is all that most methods need. Third parties register a subclass of Policy under the
entry point group "edge_audiokv.policies".
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from importlib.metadata import entry_points
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.errors import PolicyError
from edge_audiokv.kv.budget import allocate
from edge_audiokv.kv.merge import Merge
from edge_audiokv.kv.option import convert
from edge_audiokv.kv.profile import HeadProfile
from edge_audiokv.kv.select import FREE, select
from edge_audiokv.kv.shape import FloatArray, IntArray, KVShape, Rows
from edge_audiokv.kv.view import KVView

GROUP = "edge_audiokv.policies"
Tiers = NDArray[np.int8]


@dataclass(frozen=True)
class Policy(ABC):
    """Base: uniform budgets, nothing smoothed, nothing protected, nothing merged.

    `needs` names what a view must carry: "scores" (the last scored batch), "ema", "total",
    "variance" (statistics over observations), "novelty", "keys", "values". `by_layer` says
    that the choice in one layer depends on that layer alone: then an eviction takes a few layers at
    a time and needs a fraction of the memory. Options are fields made by `option` (option.py).
    """

    name: ClassVar[str] = ""
    choose_when: ClassVar[str] = ""  # a sentence or two for people who have to decide
    needs: ClassVar[frozenset[str]] = frozenset()
    evicts: ClassVar[bool] = True
    by_layer: ClassVar[bool] = False
    n_window: ClassVar[int] = 32  # queries that count as the last window

    @abstractmethod
    def score(self, view: KVView) -> FloatArray:
        """Importance of every row, float32 [L, H, T]; higher stays. Padding is ignored."""

    def smooth(self, view: KVView, scores: FloatArray) -> FloatArray:
        """Scores after smoothing along the rows."""
        return scores

    def protect(self, view: KVView) -> Tiers:
        """Tier of every row (select.FREE, SOFT, RECENT, HARD), int8 [L, H, T]."""
        return np.full(view.positions.shape, FREE, np.int8)

    def weights(self, shape: KVShape, view: KVView | None = None) -> FloatArray | None:
        """Relative budgets [L, H], or None for equal ones. Per-input methods need a view."""
        return None

    def floor(self, mean_rows: float) -> tuple[int, float]:
        """(rows, share of the mean) that each head gets whatever its weight."""
        return 1, 0.0

    def exponent(self, share: float) -> float:
        """Power on the weights, for a budget of `share` of all rows that there can be."""
        return 1.0

    def ceiling(self, share: float) -> float:
        """Most that one head gets of the rows there can be, for a budget of `share` of all."""
        return 1.0

    def budgets(
        self,
        total_rows: int,
        shape: KVShape,
        available: int | IntArray,
        *,
        view: KVView | None = None,
        levels: int = 8,
        row_multiple: int = 1,
        least_rows: int = 1,
    ) -> IntArray:
        """Rows of each head, int32 [L, H], for `total_rows` in all (see budget.allocate).

        `least_rows` is what the engine must be able to keep in each head (protected rows and room).
        """
        weights = self.weights(shape, view)
        if weights is None:
            weights = np.ones((shape.n_layer, shape.n_kv_head), np.float32)
        floor_rows, floor_share = self.floor(total_rows / shape.n_head)
        most_rows = np.broadcast_to(np.asarray(available), weights.shape).astype(np.int32)
        share = min(1.0, total_rows / max(1, int(most_rows.sum())))
        ceiling = np.ceil(most_rows * max(share, self.ceiling(share)) - 1e-6).astype(np.int32)
        return allocate(
            weights,
            total_rows,
            available=np.minimum(most_rows, np.maximum(ceiling, least_rows)),
            floor_rows=max(
                1, least_rows, min(floor_rows, total_rows // shape.n_head - row_multiple)
            ),
            floor_share=floor_share,
            temperature=self.exponent(share),
            levels=levels,
            row_multiple=row_multiple,
        )

    def select(self, view: KVView) -> Rows:
        """The rows that stay: every step in order. Raises PolicyError if protected rows do not
        fit.
        """
        scores = self.smooth(view, self.score(view))
        tiers = self.protect(view)
        return select(scores, tiers, view.counts, view.targets, first_layer=view.first_layer)

    def merge(self, view: KVView, rows: Rows) -> list[Merge]:
        """Value rows to overwrite after `rows` were kept, from the values of the dropped ones."""
        return []


_registry: dict[str, type[Policy]] = {}


def register(cls: type[Policy]) -> type[Policy]:
    """Class decorator: make a policy available by its name."""
    _registry[cls.name] = cls
    return cls


def policies() -> Mapping[str, type[Policy]]:
    """All policies by name: ours, then those of installed entry points (which cannot replace
    ours).
    """
    from edge_audiokv.kv import policies as package

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    for entry in entry_points(group=GROUP):
        if entry.name not in _registry:
            loaded = entry.load()
            if not (isinstance(loaded, type) and issubclass(loaded, Policy)):
                raise PolicyError(
                    f"The installed policy {entry.name!r} is not a Policy class.",
                    cure=f"Fix or remove {entry.value}.",
                )
            if inspect.isabstract(loaded):
                raise PolicyError(
                    f"The installed policy {entry.name!r} does not say how it scores rows.",
                    cure=f"Give {entry.value} a score() method, or remove it.",
                )
            _registry[entry.name] = loaded
    return dict(sorted(_registry.items()))


def find_policy(name: str) -> type[Policy]:
    """The policy class `name`. Raises PolicyError that lists the choices, a close one first."""
    known = policies()
    if name not in known:
        raise PolicyError(f"There is no KV policy {name!r}.", cure=_choose(name, known))
    return known[name]


def _choose(name: str, choices: Iterable[str]) -> str:
    names = list(choices)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {close[0]}? " if close else ""
    return f"{hint}Choose from {', '.join(names)}."


def make_policy(name: str, *, profile: HeadProfile | None = None, **options: Any) -> Policy:
    """The policy `name` with `options` (its dataclass fields; text is converted).

    `profile` goes to policies that use one. Raises PolicyError that lists the choices for an
    unknown name, an unknown option or a value of the wrong type or range.
    """
    cls = find_policy(name)
    own = {field.name: field for field in fields(cls)}
    choices = sorted(set(own) - {"profile"})
    arguments: dict[str, Any] = {}
    for option, value in options.items():
        if option not in choices:
            raise PolicyError(
                f"KV policy {name} has no option {option!r}.",
                cure=_choose(option, choices) if choices else "It has no options.",
            )
        arguments[option] = convert(name, own[option], value)
    if "profile" in own and profile is not None:
        arguments["profile"] = profile
    return cls(**arguments)
