"""How much does a policy lose at a budget? Teacher-forced log-likelihood of the reference text.

One-shot protocol, as the papers measure: the whole prompt is read once, its keys and values are cut
down to a share of their rows, and the reference is scored on what is left. All policies and shares
of a clip start from one saved state, so only the rows differ.

Stream protocol, as the product runs: the cache has the bytes of the share from the start, audio
arrives in chunks, and rows are evicted while it does; nothing ever exceeds the pool.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.eval.parts import Parts
from edge_audiokv.kv.controller import Controller, ControllerSettings
from edge_audiokv.kv.policy import Policy
from edge_audiokv.kv.shape import FloatArray, IntArray
from edge_audiokv.kv.view import Kind
from edge_audiokv.native.context import HeadwiseContext

ROW_MULTIPLE = 64
CHUNK_TOKENS = 25


@dataclass(frozen=True)
class Clip:
    """One utterance or join: embeddings [T, d_model] and the token ids of its reference."""

    id: str
    embeddings: FloatArray
    ids: list[int]
    audio_s: float


@dataclass(frozen=True)
class Loss:
    """Summed negative log-likelihood in nats of `n_tokens`, rows that stayed, bytes of the
    pools.
    """

    nll: float
    n_tokens: int
    kept_rows: int
    pool_bytes: int
    hits: int = 0

    @property
    def per_token(self) -> float:
        return self.nll / max(1, self.n_tokens)


class Prefilled:
    """A clip's prompt, read once into a full cache and observed; the start of every one-shot
    cut.
    """

    def __init__(self, parts: Parts, clip: Clip) -> None:
        self.parts, self.clip = parts, clip
        n_rows = len(parts.before) + len(clip.embeddings) + len(parts.after)
        self.n_rows = n_rows
        self.context = HeadwiseContext(parts.model, n_rows, n_threads=1).load()
        self._steps: list[tuple[Kind, int, FloatArray, IntArray]] = []
        self._run(Kind.PROMPT, len(parts.before), lambda: self.context.decode_tokens(parts.before))
        self._run(
            Kind.AUDIO,
            len(clip.embeddings),
            lambda: self.context.decode_embeddings(clip.embeddings, score=True),
        )
        self.logits: FloatArray | None = None

        def ask() -> None:
            self.logits = self.context.decode_tokens(parts.after, score=True)

        self._run(Kind.PROMPT, len(parts.after), ask)
        self.state = self.context.save_state()

    def _run(self, kind: Kind, n_tokens: int, decode: object) -> None:
        decode()  # type: ignore[operator]
        self._steps.append((kind, n_tokens, self.context.scores(), self.context.counts))

    def controller(self, policy: Policy, settings: ControllerSettings | None = None) -> Controller:
        """A controller that has seen the prompt."""
        controller = Controller(
            policy, self.context.shape, self.context.capacity, settings=settings
        )
        for kind, n_tokens, scores, counts in self._steps:
            controller.appended(kind, n_tokens)
            if kind is Kind.AUDIO or n_tokens == len(self.parts.after):
                controller.observe_scores(
                    scores,
                    counts,
                    n_queries=min(n_tokens, self.context.score_window),
                    text=kind is not Kind.AUDIO,
                )
        return controller

    def close(self) -> None:
        self.context.close()


def one_shot(
    start: Prefilled, policy: Policy, share: float, settings: ControllerSettings | None = None
) -> Loss:
    """Cut the prompt to `share` of its rows with `policy` and score the reference."""
    controller = start.controller(policy, settings)
    counts = start.context.counts
    if share >= 1:
        targets = counts
    else:
        view = controller.view(start.context, counts)
        targets = policy.budgets(
            int(share * counts.sum()), start.context.shape, start.n_rows, view=view
        )
    # Levels may differ by a row; distinct capacities keep them apart in the native layer.
    _, rank = np.unique(targets, return_inverse=True)
    room = start.n_rows + len(start.clip.ids) + ROW_MULTIPLE * rank.reshape(targets.shape)
    with HeadwiseContext(
        start.parts.model,
        room.astype(np.int32),
        n_threads=1,
        score_window=0,
        n_outputs=64,
    ) as context:
        context.load_state(start.state)
        kept = int(counts.sum())
        if share < 1:
            kept = controller.evict(context, targets).kept_rows
        assert_logits = start.logits
        return _score(context, assert_logits, start.clip.ids, kept)


def _score(
    context: HeadwiseContext, first: FloatArray | None, ids: list[int], kept_rows: int
) -> Loss:
    """Likelihood of `ids` given the cache; the prompt's own last logits are not used: the first
    token is scored by re-reading the last prompt token only in streams, so it is left out here."""
    logits = context.decode_tokens(ids, all_logits=True)
    if logits is None:
        return Loss(0.0, 0, kept_rows, context.pool_nbytes)
    return _loss(logits[:-1], ids[1:], kept_rows, context.pool_nbytes)


def _loss(logits: FloatArray, ids: list[int], kept_rows: int, pool_bytes: int) -> Loss:
    wide: NDArray[np.float64] = logits.astype(np.float64)
    top = wide.max(axis=1)
    log_sum = top + np.log(np.exp(wide - top[:, None]).sum(axis=1))
    picked = wide[np.arange(len(ids)), ids]
    hits = int((wide.argmax(axis=1) == np.asarray(ids)).sum())
    return Loss(float((log_sum - picked).sum()), len(ids), kept_rows, pool_bytes, hits)
