"""The two classifiers, against recomputations that share nothing with them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import check_grad

from edge_audiokv.eval.probe import classifiers
from edge_audiokv.eval.probe.classifiers import (
    initial,
    loss_and_gradient,
    nearest,
    perceptron,
    standardised,
)


def test_rows_are_standardised_by_what_is_learnt_from() -> None:
    rows = np.array([[1.0, 5.0], [3.0, 5.0]])
    learnt, asked = standardised(rows, np.array([[5.0, 9.0]]))
    assert learnt.tolist() == [[-1, 0], [1, 0]] and asked.tolist() == [[3, 0]]


def test_the_neighbours_are_those_that_a_loop_finds() -> None:
    rng = np.random.default_rng(3)
    rows, others = rng.normal(size=(60, 5)), rng.normal(size=(40, 5))
    labels = rng.integers(0, 4, 60)
    expected = []
    for asked in others.tolist():
        cosines = []
        for index, row in enumerate(rows.tolist()):
            dot = sum(a * b for a, b in zip(asked, row, strict=True))
            cosines.append((-dot / math.hypot(*row), index))
        near = [int(labels[index]) for _, index in sorted(cosines)[:7]]
        most = max(near.count(label) for label in near)
        expected.append(next(label for label in near if near.count(label) == most))
    assert nearest(rows, labels, others, k=7).tolist() == expected


def test_the_loss_is_cross_entropy_with_weight_decay() -> None:
    rng = np.random.default_rng(5)
    rows, labels, hidden = rng.normal(size=(4, 3)), np.array([0, 2, 1, 2]), 2
    weights = rng.normal(size=3 * 2 + 2 + 2 * 3 + 3)
    total = 0.0
    for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
        units = [
            max(0.0, sum(row[i] * weights[2 * i + j] for i in range(3)) + weights[6 + j])
            for j in range(hidden)
        ]
        scores = [
            sum(units[j] * weights[8 + 3 * j + c] for j in range(hidden)) + weights[14 + c]
            for c in range(3)
        ]
        total -= math.log(math.exp(scores[label]) / sum(map(math.exp, scores)))
    squares = sum(float(w) ** 2 for w in [*weights[:6], *weights[8:14]])
    expected = total / 4 + 0.5 * classifiers.WEIGHT_DECAY * squares
    assert loss_and_gradient(weights, rows, labels, hidden)[0] == pytest.approx(expected)


def test_the_gradient_is_that_of_finite_differences() -> None:
    rng = np.random.default_rng(7)
    rows, labels, hidden = rng.normal(size=(12, 4)), np.arange(12) % 3, 5
    weights = initial(4, hidden, 3, seed=1)
    error = check_grad(
        lambda w: loss_and_gradient(w, rows, labels, hidden)[0],
        lambda w: loss_and_gradient(w, rows, labels, hidden)[1],
        weights,
    )
    assert error < 1e-5


def test_a_perceptron_learns_what_no_line_divides() -> None:
    rng = np.random.default_rng(9)
    rows = rng.uniform(-1, 1, (400, 2))
    labels = (rows[:, 0] * rows[:, 1] > 0).astype(np.int64)
    told = perceptron(rows[:300], labels[:300], rows[300:], hidden=16)
    assert (told == labels[300:]).mean() > 0.9
    assert (told == perceptron(rows[:300], labels[:300], rows[300:], hidden=16)).all()
