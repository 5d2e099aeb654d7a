"""Two small classifiers of pooled rows: the nearest neighbours, and one hidden layer.

Both see rows [N, D] that are standardised by the rows learnt from, so that one dimension of a large
range does not decide alone. Both are deterministic; nothing is tuned on the data.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
Labels = NDArray[np.int64]

NEIGHBOURS = 10
HIDDEN = 64
WEIGHT_DECAY = 1e-3
MAX_ITERATIONS = 200


def standardised(rows: Rows, others: Rows) -> tuple[Rows, Rows]:
    """Both by mean and deviation of `rows` [N, D]; what is the same in all of them becomes 0."""
    mean, deviation = rows.mean(0), rows.std(0)
    scale = np.where(deviation > 1e-12, 1 / np.maximum(deviation, 1e-12), 0.0)
    return (rows - mean) * scale, (others - mean) * scale


def nearest(rows: Rows, labels: Labels, others: Rows, *, k: int = NEIGHBOURS) -> Labels:
    """The commonest label among the `k` of `rows` [N, D] with the largest cosine to each of
    `others` [M, D]; of labels as common, that of the nearest.
    """
    alike = _unit(others) @ _unit(rows).T
    order = np.argsort(-alike, axis=1, kind="stable")[:, : min(k, len(rows))]
    found = np.empty(len(others), np.int64)
    for index, near in enumerate(labels[order]):
        votes = np.bincount(near)
        found[index] = near[np.argmax(votes[near] == votes.max())]
    return found


def perceptron(
    rows: Rows,
    labels: Labels,
    others: Rows,
    *,
    hidden: int = HIDDEN,
    seed: int = 0,
    max_iterations: int = MAX_ITERATIONS,
) -> Labels:
    """Labels of `others` [M, D] by a multi-layer perceptron of one hidden layer of rectified units.

    Learnt from `rows` [N, D] by L-BFGS on cross-entropy with weight decay, all rows at once.
    """
    from scipy.optimize import minimize

    n_classes = int(labels.max()) + 1
    start = initial(rows.shape[1], hidden, n_classes, seed)
    learnt = minimize(
        loss_and_gradient,
        start,
        args=(rows, labels, hidden),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_iterations},
    )
    scores, _ = _forward(learnt.x, others, hidden, n_classes)
    return np.asarray(scores.argmax(1), np.int64)


def initial(width: int, hidden: int, n_classes: int, seed: int) -> Rows:
    """Where learning begins (He et al. 2015), as one vector: both layers, biases last of each."""
    rng = np.random.default_rng(seed)
    first = rng.normal(0, np.sqrt(2 / width), (width, hidden))
    second = rng.normal(0, np.sqrt(1 / hidden), (hidden, n_classes))
    parts = (first, np.zeros(hidden), second, np.zeros(n_classes))
    return np.concatenate([part.ravel() for part in parts])


def loss_and_gradient(weights: Rows, rows: Rows, labels: Labels, hidden: int) -> tuple[float, Rows]:
    """Mean cross-entropy, and half of WEIGHT_DECAY times the squares of all but the biases."""
    n_rows, n_classes = len(rows), int(labels.max()) + 1
    first, _, second, _ = _split(weights, rows.shape[1], hidden, n_classes)
    scores, active = _forward(weights, rows, hidden, n_classes)
    scores = scores - scores.max(1, keepdims=True)
    log_sum = np.log(np.exp(scores).sum(1, keepdims=True))
    at = np.arange(n_rows)
    loss = float((log_sum[:, 0] - scores[at, labels]).mean())
    loss += 0.5 * WEIGHT_DECAY * float((first**2).sum() + (second**2).sum())
    wrong = np.exp(scores - log_sum)
    wrong[at, labels] -= 1
    wrong /= n_rows
    back = (wrong @ second.T) * (active > 0)
    parts = (
        rows.T @ back + WEIGHT_DECAY * first,
        back.sum(0),
        active.T @ wrong + WEIGHT_DECAY * second,
        wrong.sum(0),
    )
    return loss, np.concatenate([part.ravel() for part in parts])


def _forward(weights: Rows, rows: Rows, hidden: int, n_classes: int) -> tuple[Rows, Rows]:
    """Scores [N, C] of every class, and what the hidden units [N, hidden] give."""
    first, first_bias, second, second_bias = _split(weights, rows.shape[1], hidden, n_classes)
    active = np.maximum(rows @ first + first_bias, 0)
    return active @ second + second_bias, active


def _split(weights: Rows, width: int, hidden: int, n_classes: int) -> tuple[Rows, ...]:
    ends = np.cumsum([width * hidden, hidden, hidden * n_classes])
    first, first_bias, second, second_bias = np.split(weights, ends)
    return (
        first.reshape(width, hidden),
        first_bias,
        second.reshape(hidden, n_classes),
        second_bias,
    )


def _unit(rows: Rows) -> Rows:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
