"""What is still known of minutes of sound: questions with exact answers, over joined clips.

Every join is heard once and asked about several times. The same questions are asked with the sound
replaced by noise of the same mean and spread: a model that does as well there has not listened.
A sentence is right if most of its words are; it is found if the words that were answered point at
it rather than at another one of the join, however badly they were heard.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np

from edge_audiokv.audio.files.file import read_all
from edge_audiokv.calibrate.clips import spoken
from edge_audiokv.encoder.sound import Sound
from edge_audiokv.errors import InputError
from edge_audiokv.eval.long_context import LongContext
from edge_audiokv.eval.tasks import CHANCE, Task, closest_segment, is_right, make_task
from edge_audiokv.eval.wer import Utterance
from edge_audiokv.kv.shape import FloatArray

# Kinds that are answered by a sentence.
SENTENCES = ("first", "last", "repeat")


@dataclass(frozen=True)
class Reply:
    """One question, what was answered with the sound and with noise in its place.

    `depth` is where the answer lies, from 0 (first segment) to 1 (last); -1: nowhere. `found` and
    `found_deaf` tell of sentences alone (None: not a sentence) whether the right one was meant.
    """

    kind: str
    question: str
    wanted: str
    heard: str
    deaf: str
    right: bool
    right_deaf: bool
    depth: float
    audio_s: float
    segments: int = 0
    found: bool | None = None
    found_deaf: bool | None = None


@dataclass(frozen=True)
class Score:
    """Right answers of a kind with the sound and with noise; 95 % Wilson intervals.

    `found` is the share of right sentences meant (`Reply.found`), None for other kinds; by chance
    it would be one in `segments`, the mean number of a join's sentences.
    """

    kind: str
    tries: int
    right: float
    right_low: float
    right_high: float
    deaf: float
    deaf_low: float
    deaf_high: float
    chance: float | None
    found: float | None = None
    found_low: float | None = None
    found_high: float | None = None
    found_deaf: float | None = None
    segments: float = 0.0


def wilson(right: int, tries: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if not tries:
        return 0.0, 1.0
    z, share = 1.96, right / tries
    centre = share + z * z / (2 * tries)
    spread = z * sqrt(share * (1 - share) / tries + z * z / (4 * tries * tries))
    scale = 1 + z * z / tries
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def draw_join(
    durations_s: Sequence[float], seconds: float, rng: random.Random
) -> tuple[list[int], float]:
    """Clips in random order until `seconds` are reached, and their length. With less sound than
    that, all come again in another order.
    """
    order: list[int] = []
    group, total = [], 0.0
    while durations_s and total < seconds:
        order = order or rng.sample(range(len(durations_s)), len(durations_s))
        group.append(order.pop())
        total += durations_s[group[-1]]
    return group, total


def hear_clips(
    context: LongContext, clips: Sequence[Utterance], seconds: float
) -> tuple[list[Sound], list[float]]:
    """All clips as sounds, and their lengths. Raises InputError if they are too short for a join
    of `seconds`.
    """
    sounds = [context.hear(read_all(clip.path)) for clip in clips]
    durations_s = [len(sound) / context.runtime.encoder.tokens_per_second for sound in sounds]
    if sum(durations_s) < seconds:
        raise InputError(
            f"All clips together last {sum(durations_s):.0f} s, less than {seconds:g} s.",
            cure="Ask for shorter joins, use more clips, or let them come again (--repeat-clips of"
            " `eval codes`).",
        )
    return sounds, durations_s


def recall(
    context: LongContext,
    clips: Sequence[Utterance],
    *,
    seconds: float,
    joins: int,
    kinds: Sequence[str],
    questions: int = 1,
    seed: int = 0,
    on_reply: Callable[[Reply], None] | None = None,
) -> list[Reply]:
    """Hear `joins` joins of about `seconds` and ask about each: `questions` of each kind, but no
    question twice.

    Raises InputError if all clips together are shorter than a join.
    """
    rng, noise = random.Random(seed), np.random.default_rng(seed)
    sounds, durations_s = hear_clips(context, clips, seconds)
    texts = [spoken(clip.text) for clip in clips]
    every = np.concatenate([sound.embeddings for sound in sounds])
    mean, spread = every.mean(axis=0), every.std(axis=0)
    others = sorted({word for text in texts for word in text.split()})
    replies = []
    for _ in range(joins):
        group, total_s = draw_join(durations_s, seconds, rng)
        inside = [texts[i] for i in group]
        made = [make_task(inside, kind, rng, others) for kind in kinds for _ in range(questions)]
        tasks = list(dict.fromkeys(task for task in made if task is not None))
        heard = _answers(context, [sounds[i] for i in group], tasks)
        hiss = [_hiss(sounds[i], mean, spread, noise) for i in group]
        deaf = _answers(context, hiss, tasks)
        for task, answer, blind in zip(tasks, heard, deaf, strict=True):
            depth = task.segment / max(1, len(group) - 1) if task.segment >= 0 else -1.0
            reply = Reply(
                task.kind,
                task.question,
                task.answer,
                answer,
                blind,
                is_right(task, answer),
                is_right(task, blind),
                depth,
                total_s,
                len(group),
                _found(task, answer, inside),
                _found(task, blind, inside),
            )
            replies.append(reply)
            if on_reply is not None:
                on_reply(reply)
    return replies


def _found(task: Task, answer: str, texts: Sequence[str]) -> bool | None:
    if task.kind not in SENTENCES:
        return None
    return closest_segment(task, answer, texts) == task.segment


def _hiss(sound: Sound, mean: FloatArray, spread: FloatArray, noise: np.random.Generator) -> Sound:
    """Noise as long as `sound`, in which no word is believed."""
    hiss = mean + spread * noise.standard_normal(sound.embeddings.shape)
    return Sound(hiss.astype(np.float32), sound.words, np.zeros_like(sound.beliefs))


def _answers(context: LongContext, sounds: Sequence[Sound], tasks: Sequence[Task]) -> list[str]:
    context.listen(sounds)
    return [context.ask(task.question) for task in tasks]


def summarise(replies: Sequence[Reply]) -> list[Score]:
    """One score for each kind, in the order of asking."""
    scores = []
    for kind in dict.fromkeys(reply.kind for reply in replies):
        mine = [reply for reply in replies if reply.kind == kind]
        right, deaf = sum(r.right for r in mine), sum(r.right_deaf for r in mine)
        found = sum(r.found for r in mine if r.found is not None)
        low, high = wilson(found, len(mine))
        sentences = kind in SENTENCES
        scores.append(
            Score(
                kind,
                len(mine),
                right / len(mine),
                *wilson(right, len(mine)),
                deaf / len(mine),
                *wilson(deaf, len(mine)),
                CHANCE.get(kind),
                found / len(mine) if sentences else None,
                low if sentences else None,
                high if sentences else None,
                sum(bool(r.found_deaf) for r in mine) / len(mine) if sentences else None,
                sum(r.segments for r in mine) / len(mine),
            )
        )
    return scores


def to_dict(replies: Sequence[Reply], **more: Any) -> dict[str, Any]:
    """JSON-ready: scores first, then every reply."""
    return {
        **more,
        "scores": [asdict(score) for score in summarise(replies)],
        "replies": [asdict(reply) for reply in replies],
    }
