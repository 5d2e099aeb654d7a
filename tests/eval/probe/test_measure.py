"""Folds, shares and their mean over tasks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edge_audiokv.eval.probe.measure import Score, averages, folds, score
from edge_audiokv.eval.probe.tasks import FOLDS, Task


def a_task(n_clips: int, n_labels: int = 2) -> Task:
    labels = tuple(f"l{i % n_labels}" for i in range(n_clips))
    return Task("t", (Path("x"),) * n_clips, labels, tuple(map(str, range(n_clips))))


def test_a_group_lies_in_one_fold_and_labels_are_spread_evenly() -> None:
    groups = [str(i // 4) for i in range(120)]
    labels = ["ab"[i // 4 % 2] for i in range(120)]
    fold = folds(labels, groups)
    for group in set(groups):
        assert len({int(fold[i]) for i in range(120) if groups[i] == group}) == 1
    held = Counter(zip(fold.tolist(), labels, strict=True))
    assert len(held) == 2 * FOLDS and set(held.values()) == {12}
    assert (fold == folds(labels, groups)).all()
    assert (fold != folds(labels, groups, seed=1)).any()


def test_rows_that_hold_the_label_tell_it_and_noise_does_not() -> None:
    task, rng = a_task(200), np.random.default_rng(0)
    noise = rng.normal(size=(200, 6))
    signal = noise + 4 * np.array([[label == "l0"] for label in task.labels])
    told, unheard = score(task, {"signal": signal, "noise": noise})
    assert told.knn > 0.97 and told.mlp > 0.97
    assert abs(unheard.knn - 0.5) < 0.12 and abs(unheard.mlp - 0.5) < 0.12
    assert told.knn_low < told.knn < told.knn_high or told.knn == 1.0
    assert (told.clips, told.classes, told.width, told.chance) == (200, 2, 6, 0.5)


def test_what_only_the_group_tells_is_not_told_by_other_groups() -> None:
    """Clips of a group are alike and have one label, as the cuts of one recording have."""
    groups = tuple(str(i // 5) for i in range(200))
    labels = tuple(f"l{i // 5 % 2}" for i in range(200))
    rows = np.random.default_rng(1).normal(size=(40, 8))[np.arange(200) // 5]
    rows += 0.01 * np.random.default_rng(2).normal(size=rows.shape)
    apart = Task("t", (Path("x"),) * 200, labels, groups)
    mixed = Task("t", (Path("x"),) * 200, labels, tuple(map(str, range(200))))
    assert score(mixed, {"r": rows})[0].mlp > 0.95
    assert score(apart, {"r": rows})[0].mlp < 0.75


def test_the_average_weighs_tasks_by_their_clips() -> None:
    def one(clips: int, knn: float, mlp: float) -> Score:
        return Score("t", "f", 4, clips, 2, 0, 0.5, knn, 0.0, 1.0, mlp, 0.0, 1.0)

    mean = averages([one(300, 0.5, 0.9), one(100, 1.0, 0.5)])
    assert [(m.features, m.chance) for m in mean] == [("f", 0.5)]
    assert mean[0].knn == pytest.approx(0.625) and mean[0].mlp == pytest.approx(0.8)
