"""How far next-token distributions are from a base's, of which only the top is kept.

The base's likeliest tokens, until REST_MASS is left or MOST_KEPT are taken, are compared one by one
and all others as one: a lower bound of KL(base || other). What that can leave out is bounded for
every place: the others' mass times the most that a log ratio can be there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.errors import InputError
from edge_audiokv.files import growing
from edge_audiokv.kv.shape import FloatArray

REST_MASS, MOST_KEPT = 1e-6, 1 << 14


@dataclass(frozen=True)
class Kept:
    """The base's distributions at T places of one text, and the text's token ids.

    `ids` int32 and `logits` float32 hold the likeliest tokens of each place, likeliest first, from
    `starts[place]` to `starts[place + 1]`; `log_sum` float64 [T] makes log probabilities of them,
    `log_rest` [T] is the log probability of all others, minus infinity if there are none.
    """

    text_ids: tuple[int, ...]
    ids: NDArray[np.int32]
    logits: FloatArray
    starts: NDArray[np.int64]
    log_sum: NDArray[np.float64]
    log_rest: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.log_sum)


@dataclass(frozen=True)
class Apart:
    """One place: KL(base || other) in nats, at most `left_out` more, and whether the base's
    first choice is the other's, too.
    """

    nats: float
    left_out: float
    same_top: bool


def keep(
    text_ids: Iterable[int],
    rows: Iterable[FloatArray],
    *,
    rest_mass: float = REST_MASS,
    most_kept: int = MOST_KEPT,
) -> Kept:
    """The top of `rows`, float32 logits [V] each, which are looked at one by one."""
    ids, logits, log_sum, log_rest = [], [], [], []
    for row in rows:
        wide = row.astype(np.float64)
        log_sum.append(_log_sum(wide))
        order = np.argsort(-row, kind="stable").astype(np.int32)
        mass = np.exp(wide[order] - log_sum[-1]).cumsum()
        n_kept = min(1 + int(np.searchsorted(mass, 1 - rest_mass)), most_kept, len(row))
        ids.append(order[:n_kept])
        logits.append(row[ids[-1]])
        log_rest.append(_log_rest(wide, ids[-1]) - log_sum[-1])
    return Kept(
        tuple(text_ids),
        np.concatenate([np.empty(0, np.int32), *ids]),
        np.concatenate([np.empty(0, np.float32), *logits]),
        np.cumsum([0, *map(len, ids)]),
        np.array(log_sum),
        np.array(log_rest),
    )


def compare(base: Kept, place: int, row: FloatArray) -> Apart:
    """How far `row`, logits [V], is from the base at `place`. Raises InputError if the vocabularies
    differ.
    """
    part = slice(base.starts[place], base.starts[place + 1])
    ids = base.ids[part]
    if ids.max() >= len(row):
        raise InputError(
            "The base has another vocabulary.", cure="Compare files of one model alone."
        )
    wide = row.astype(np.float64)
    log_sum = _log_sum(wide)
    log_p = base.logits[part].astype(np.float64) - base.log_sum[place]
    log_q = wide[ids] - log_sum
    nats, left_out = float((np.exp(log_p) * (log_p - log_q)).sum()), 0.0
    rest = float(base.log_rest[place])
    if rest > -np.inf:
        ratio = rest - (_log_rest(wide, ids) - log_sum)
        mass = float(np.exp(rest))
        nats += mass * ratio
        # No token of the rest is likelier in the base than the last one kept, or less likely in the
        # other than the least likely of all.
        most = float(log_p.min()) - (float(wide.min()) - log_sum)
        left_out = mass * max(0.0, most - ratio)
    return Apart(max(0.0, nats), left_out, bool(row[ids[0]] >= row.max()))


def save(kept: Kept, path: Path) -> None:
    """Write `path` (npz), whole or not at all. Raises OSError."""
    with growing(path, private=True) as part, part.open("wb") as stream:
        np.savez(
            stream,
            text_ids=np.array(kept.text_ids, np.int32),
            ids=kept.ids,
            logits=kept.logits,
            starts=kept.starts,
            log_sum=kept.log_sum,
            log_rest=kept.log_rest,
        )


def load(path: Path) -> Kept:
    """What `save` wrote. Raises OSError, ValueError and KeyError for anything else."""
    with np.load(path, allow_pickle=False) as data:
        return Kept(
            tuple(data["text_ids"].tolist()),
            data["ids"],
            data["logits"],
            data["starts"],
            data["log_sum"],
            data["log_rest"],
        )


def _log_sum(wide: NDArray[np.float64]) -> float:
    highest = float(wide.max())
    return highest + float(np.log(np.exp(wide - highest).sum()))


def _log_rest(wide: NDArray[np.float64], ids: NDArray[np.int32]) -> float:
    """log of the sum of exp over all but `ids`."""
    if len(ids) == len(wide):
        return -np.inf
    others = np.ones(len(wide), bool)
    others[ids] = False
    return _log_sum(wide[others])
