"""One cell of the comparison: one clip under one policy at one retained share, measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_audiokv.calibrate.clips import Join, spoken
from edge_audiokv.calibrate.parts import Parts
from edge_audiokv.calibrate.prefilled import Clip, Loss, Prefilled
from edge_audiokv.eval.sweep import Point, cut_targets, one_shot, stream
from edge_audiokv.eval.tasks import Task, is_right
from edge_audiokv.eval.transcripts import runaway_tokens, transcribe
from edge_audiokv.eval.wer import Hypothesis, Utterance, score_clip
from edge_audiokv.kv.policy import Policy

ANSWER_TOKENS = 48


@dataclass(frozen=True)
class Heard:
    """Word errors of one clip: `edits` as the loop guard leaves the text, `raw_edits` without it.

    `looped` tells that the guard had to step in.
    """

    policy: str
    share: float
    clip: str
    audio_s: float
    words: int
    edits: int
    raw_edits: int
    looped: bool
    kept_rows: int
    full_rows: int
    kept_bytes: int
    text: str = ""


@dataclass(frozen=True)
class Answered:
    """One question about one join."""

    policy: str
    share: float
    clip: str
    audio_s: float
    kind: str
    question: str
    answer: str
    right: bool
    kept_rows: int
    full_rows: int
    kept_bytes: int


def hear(start: Prefilled, policy: Policy, share: float) -> Heard:
    """Transcribe the cut prompt greedily and count word errors, normalised as Whisper's are."""
    clip = start.clip
    heard = transcribe(
        start,
        policy,
        cut_targets(start, policy, share),
        max_tokens=runaway_tokens(clip.audio_s),
    )
    said = Utterance(clip.id, Path(), clip.text, "")
    score = score_clip(said, Hypothesis(heard.guarded))
    raw = score_clip(said, Hypothesis(heard.raw))
    return Heard(
        policy.name,
        share,
        clip.id,
        round(clip.audio_s, 2),
        score.words,
        score.edits,
        raw.edits,
        bool(heard.verdict),
        heard.kept_rows,
        heard.full_rows,
        heard.kept_rows * start.context.shape.row_bytes,
        heard.guarded,
    )


def answer(start: Prefilled, task: Task, policy: Policy, share: float) -> Answered:
    """Answer the question of `task`, which `start` was asked, from the cut prompt."""
    clip = start.clip
    targets = cut_targets(start, policy, share)
    said = transcribe(start, policy, targets, max_tokens=ANSWER_TOKENS)
    return Answered(
        policy.name,
        share,
        clip.id,
        round(clip.audio_s, 2),
        task.kind,
        task.question,
        said.guarded,
        is_right(task, said.guarded),
        said.kept_rows,
        said.full_rows,
        said.kept_rows * start.context.shape.row_bytes,
    )


def lose(
    protocol: str, parts: Parts, clip: Clip, start: Prefilled | None, policy: Policy, share: float
) -> Point:
    """Loss of the reference: one-shot from `start`, or as a stream if there is none."""
    loss: Loss = (
        stream(parts, clip, policy, share) if start is None else one_shot(start, policy, share)
    )
    return Point(
        protocol,
        policy.name,
        share,
        clip.id,
        round(clip.audio_s, 2),
        loss.nll,
        loss.n_tokens,
        loss.hits,
        loss.kept_rows,
        loss.full_rows,
        loss.pool_bytes,
        loss.divergence,
    )


def plain_texts(join: Join) -> list[str]:
    """The utterances' texts as the model writes them."""
    return [spoken(text) for text in join.texts]
