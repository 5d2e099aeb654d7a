"""How much of a label is in an encoder's rows: cross-validated shares of clips told right.

The protocol of UniWhisper (arXiv:2602.21772) and X-ARES (arXiv:2505.16369): the rows of a clip are
averaged over time, a nearest-neighbour vote and a shallow perceptron name the label, and the mean
over tasks weighs each by its clips. Shares lie from 0 to 1, so none is weighed by its scale.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.eval.probe.classifiers import nearest, perceptron, standardised
from edge_audiokv.eval.probe.tasks import FOLDS, Task
from edge_audiokv.eval.recall import wilson


@dataclass(frozen=True)
class Score:
    """One task by one set of features; shares of clips told right, with 95 % Wilson intervals."""

    task: str
    features: str
    width: int
    clips: int
    classes: int
    left_out: int
    chance: float
    knn: float
    knn_low: float
    knn_high: float
    mlp: float
    mlp_low: float
    mlp_high: float


@dataclass(frozen=True)
class Average:
    """Of all tasks, each weighed by its clips."""

    features: str
    chance: float
    knn: float
    mlp: float


def score(task: Task, features: Mapping[str, NDArray[np.float64]], *, seed: int = 0) -> list[Score]:
    """One score for each of `features`, [N, D] of the task's N clips, in the same folds."""
    classes = task.classes
    labels = np.array([classes.index(label) for label in task.labels], np.int64)
    fold = folds(task.labels, task.groups, seed=seed)
    scores = []
    for name, rows in features.items():
        right = {"knn": 0, "mlp": 0}
        for number in range(FOLDS):
            inside = fold != number
            known, asked = standardised(rows[inside], rows[~inside])
            # A fold may lack the last labels: the perceptron then has no place for them.
            for kind, tell in (("knn", nearest), ("mlp", perceptron)):
                told = tell(known, labels[inside], asked)
                right[kind] += int((told == labels[~inside]).sum())
        n_clips = len(labels)
        scores.append(
            Score(
                task.name,
                name,
                rows.shape[1],
                n_clips,
                len(classes),
                task.n_left_out,
                task.chance,
                right["knn"] / n_clips,
                *wilson(right["knn"], n_clips),
                right["mlp"] / n_clips,
                *wilson(right["mlp"], n_clips),
            )
        )
    return scores


def folds(labels: Sequence[str], groups: Sequence[str], *, seed: int = 0) -> NDArray[np.int64]:
    """The fold [N], 0 to FOLDS - 1, that each clip is asked in.

    A group goes whole into the fold that has fewest of its labels, larger groups first.
    """
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    order = list(members.values())
    random.Random(seed).shuffle(order)
    order.sort(key=len, reverse=True)
    held = [Counter[str]() for _ in range(FOLDS)]
    fold = np.empty(len(labels), np.int64)
    for group_members in order:
        mine = Counter(labels[index] for index in group_members)
        costs = [
            (sum(held_by[label] * n for label, n in mine.items()), held_by.total(), number)
            for number, held_by in enumerate(held)
        ]
        number = min(costs)[2]
        held[number].update(mine)
        fold[group_members] = number
    return fold


def averages(scores: Sequence[Score]) -> list[Average]:
    """One for each set of features."""
    found = []
    for name in dict.fromkeys(item.features for item in scores):
        mine = [item for item in scores if item.features == name]
        n_clips = sum(item.clips for item in mine)
        chance, knn, mlp = (
            sum(share * item.clips for share, item in zip(shares, mine, strict=True)) / n_clips
            for shares in (
                [item.chance for item in mine],
                [item.knn for item in mine],
                [item.mlp for item in mine],
            )
        )
        found.append(Average(name, chance, knn, mlp))
    return found


def to_dict(scores: Sequence[Score], **more: Any) -> dict[str, Any]:
    """JSON-ready."""
    return {
        **more,
        "scores": [asdict(item) for item in scores],
        "averages": [asdict(item) for item in averages(scores)],
    }
