"""One clip's prompt read once into a full cache: every cut of it starts from the same saved
state.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.calibrate.parts import Parts
from edge_audiokv.kv.budget import apart
from edge_audiokv.kv.controller import Controller, ControllerSettings
from edge_audiokv.kv.novelty import Novelty
from edge_audiokv.kv.policy import Policy
from edge_audiokv.kv.shape import FloatArray, IntArray
from edge_audiokv.kv.view import Kind
from edge_audiokv.native.context import HeadwiseContext


@dataclass(frozen=True)
class Clip:
    """One utterance or join: embeddings [T, d_model] and the token ids of its reference text."""

    id: str
    embeddings: FloatArray
    ids: list[int]
    audio_s: float
    text: str = ""


@dataclass(frozen=True)
class Loss:
    """Negative log-likelihood of the reference, in nats, of `n_tokens` tokens after the first.

    `hits` of them were the model's first choice; `kept_rows` of `full_rows`
    rows stayed; `pool_bytes` is what the rows and the text's room take. `divergence` is the sum of
    KL(full cache || cut cache) over the same tokens, in nats: what the cut changed, without the
    noise of which tokens the reference happens to hold.
    """

    nll: float
    n_tokens: int
    hits: int
    kept_rows: int
    full_rows: int
    pool_bytes: int
    divergence: float = 0.0

    @property
    def per_token(self) -> float:
        return self.nll / max(1, self.n_tokens)


class Prefilled:
    """`clip` behind the prompt's head and before its question, scored as the engine scores it.

    Takes the time and the memory of one full prefill; `n_text` tokens of room are left after it.
    `ask` puts another question in place of the first. `close` frees the cache.
    """

    def __init__(self, parts: Parts, clip: Clip, *, n_threads: int = 1, n_text: int = 0) -> None:
        self.parts, self.clip, self.n_threads = parts, clip, n_threads
        n_heard = len(parts.before) + len(clip.embeddings)
        self.context = HeadwiseContext(
            parts.model, n_heard + len(parts.after) + n_text, n_threads=n_threads
        ).load()
        self._steps: list[tuple[Kind, int, FloatArray | None, IntArray]] = []
        self.context.decode_tokens(parts.before, logits=False)
        self._note(Kind.PROMPT, len(parts.before), scored=False)
        self.context.decode_embeddings(clip.embeddings, score=True)
        self._note(Kind.AUDIO, len(clip.embeddings), scored=True)
        self._heard = n_heard, len(self._steps)
        self._full: FloatArray | None = None
        self.ask(parts.after)

    def ask(self, ids: list[int]) -> None:
        """Take back the last question and read `ids` in its place, scored."""
        n_heard, n_steps = self._heard
        del self._steps[n_steps:]
        self._full = None
        self.context.truncate(n_heard)
        self.logits = self.context.decode_tokens(ids, score=True)
        self._note(Kind.PROMPT, len(ids), scored=True)
        self.n_rows = n_heard + len(ids)
        self.state = self.context.save_state()

    def _note(self, kind: Kind, n_tokens: int, *, scored: bool) -> None:
        scores = self.context.scores() if scored else None
        self._steps.append((kind, n_tokens, scores, self.context.counts))

    def controller(self, policy: Policy, settings: ControllerSettings | None = None) -> Controller:
        """A controller that has seen the prompt."""
        controller = Controller(
            policy, self.context.shape, self.context.capacity, settings=settings
        )
        novelty = Novelty().measure(self.clip.embeddings) if controller.uses_novelty else None
        for kind, n_tokens, scores, counts in self._steps:
            is_audio = kind is Kind.AUDIO
            controller.appended(kind, n_tokens, novelty=novelty if is_audio else None)
            if scores is not None:
                n_queries = min(n_tokens, self.context.score_window)
                text = kind is not Kind.AUDIO
                controller.observe_scores(scores, counts, n_queries=n_queries, text=text)
        return controller

    def targets(self, policy: Policy, share: float) -> IntArray:
        """Rows of each head for `share` of all rows; per-input methods see the prompt's scores."""
        view = self.controller(policy).view(self.context, self.context.counts)
        total = int(share * self.context.counts.sum())
        return policy.budgets(total, self.context.shape, self.n_rows, view=view)

    @contextmanager
    def cut(
        self, policy: Policy, targets: IntArray | None, *, n_text: int, n_outputs: int = 1
    ) -> Iterator[HeadwiseContext]:
        """The prompt cut to `targets` [L, H] (None: keep all), with room for `n_text` tokens."""
        kept = self.context.counts if targets is None else targets
        with HeadwiseContext(
            self.parts.model,
            apart(kept, self.n_rows + n_text),
            n_threads=self.n_threads,
            score_window=0,
            n_outputs=n_outputs,
        ) as context:
            context.load_state(self.state)
            if targets is not None:
                self.controller(policy).evict(context, targets)
            yield context

    def loss(self, policy: Policy, targets: IntArray | None) -> Loss:
        """Cut to `targets` [L, H] (None: keep all), then score the reference, teacher-forced."""
        if self._full is None and targets is not None:
            self.loss(policy, None)
        text_rows = len(self.clip.ids)
        with self.cut(policy, targets, n_text=text_rows, n_outputs=64) as context:
            full_rows, kept_rows = int(self.context.counts.sum()), int(context.counts.sum())
            logits = context.decode_tokens(self.clip.ids, all_logits=True)
            row_bytes = context.shape.row_bytes
            held = (kept_rows + text_rows * context.shape.n_head) * row_bytes
        if logits is None:
            return Loss(0.0, 0, 0, kept_rows, full_rows, held)
        nll, hits = likelihood(logits[:-1], self.clip.ids[1:])
        if targets is None:
            self._full = logits[:-1]
        apart_nats = 0.0 if self._full is None else divergence(self._full, logits[:-1])
        return Loss(nll, text_rows - 1, hits, kept_rows, full_rows, held, apart_nats)

    def close(self) -> None:
        self.context.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def likelihood(logits: FloatArray, ids: list[int]) -> tuple[float, int]:
    """(sum of -log softmax(logits)[ids] in nats, how often the id was the maximum).

    logits float32 [T, V], ids T long.
    """
    wide: NDArray[np.float64] = logits.astype(np.float64)
    top = wide.max(axis=1)
    log_sum = top + np.log(np.exp(wide - top[:, None]).sum(axis=1))
    picked = wide[np.arange(len(ids)), ids]
    hits = int((wide.argmax(axis=1) == np.asarray(ids)).sum())
    return float((log_sum - picked).sum()), hits


def divergence(full: FloatArray, cut: FloatArray) -> float:
    """Sum over tokens of KL(softmax(full) || softmax(cut)) in nats; logits float32 [T, V]."""
    total = 0.0
    for p, q in zip(full, cut, strict=True):  # one by one: V is large
        p_log, q_log = (x - x.max() - np.log(np.exp(x - x.max()).sum()) for x in (p, q))
        total += float((np.exp(p_log) * (p_log - q_log)).sum())
    return max(0.0, total)
