"""A spoken code hidden in minutes of speech: is it known, wherever it was and however long ago?

Digits are easy to hear, so what is missed was lost by the memory, and not by the ear: each code is
asked for at once as well, while it is all that was heard. Codes of places ("the code of the kitchen
is ...") are told from each other by their questions: a join holds one at every depth.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import soundfile

from edge_audiokv.calibrate.clips import spoken
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.errors import InputError
from edge_audiokv.eval.long_context import LongContext, Texts, context_for
from edge_audiokv.eval.recall import draw_join, hear_clips, wilson
from edge_audiokv.eval.tasks import CODE, CODE_OF, Task, is_right, place_of, spoken_code
from edge_audiokv.eval.wer import Utterance
from edge_audiokv.kv.placements import DEFAULT_PLACEMENT

# The longest code that a join makes room for.
MAX_CODE_S = 10.0
_LONGEST_WINDOW_S = 30.0


@dataclass(frozen=True)
class CodeReply:
    """A code's digits, what was answered, and where it was: `depth` 0 (first) to 1 (last).

    `seconds` is 0 for a code that was heard alone.
    """

    seconds: float
    depth: float
    wanted: str
    heard: str
    right: bool


@dataclass(frozen=True)
class CodeCell:
    """Right answers at one length and depth, with a 95 % Wilson interval."""

    seconds: float
    depth: float
    tries: int
    right: float
    right_low: float
    right_high: float


def digits_of(clips: Sequence[Utterance]) -> list[str]:
    """The digits that each clip says. Raises InputError if one says no code."""
    found = [spoken_code(spoken(clip.text)) for clip in clips]
    for clip, digits in zip(clips, found, strict=True):
        if not digits:
            raise InputError(
                f'The clip {clip.id} says no code: "{clip.text}".',
                cure='Its text must hold the word "code" and at least three digits as words.',
            )
    return found


def tasks_of(clips: Sequence[Utterance]) -> list[Task]:
    """What to ask about each code; of the place if each has one of its own. Raises InputError if
    one says no code.
    """
    digits = digits_of(clips)
    places = [place_of(spoken(clip.text)) for clip in clips]
    if "" in places or len(set(places)) < len(places):
        return [Task("code", CODE, answer) for answer in digits]
    pairs = zip(places, digits, strict=True)
    return [Task("code", CODE_OF.format(place=place), answer) for place, answer in pairs]


def find_codes(
    settings: EngineSettings,
    clips: Sequence[Utterance],
    codes: Sequence[Utterance],
    *,
    lengths_s: Sequence[float],
    depths: Sequence[float],
    tries: int,
    turns: bool,
    placement: str = DEFAULT_PLACEMENT,
    recalls: bool = False,
    repeats: bool = False,
    seed: int = 0,
    on_reply: Callable[[CodeReply], None] | None = None,
) -> list[CodeReply]:
    """Ask for codes alone with a full cache, then once for every length, depth and try, in joins of
    random clips that say no code. With `repeats` they come again in a join that is longer than all.
    A join holds one code, but if all are of different places one at every depth.

    Raises InputError if the clips are too short for a join and may not, a join too long for the
    model, a code's text has no digits, or there are fewer codes than a join holds;
    MemoryBudgetError if the share leaves too few rows: all of it before anything is asked.
    """
    tasks, replies, texts = tasks_of(codes), list[CodeReply](), Texts()
    together = len(depths) if len({task.question for task in tasks}) > 1 else 1
    if together > len(codes):
        raise InputError(
            f"A join holds codes of {together} places; there are {len(codes)}.",
            cure=f"Use --depths {len(codes)}, or more codes.",
        )
    # A second code would be a second right answer.
    clips = [clip for clip in clips if not spoken_code(spoken(clip.text))]
    # What is known of a code alone tells of the ear, whatever the memory may hold.
    settings_for = {0.0: replace(settings, kv_share=1.0), **dict.fromkeys(lengths_s, settings)}

    # What is heard has one vocabulary: under a cap another runtime may have no room for a reader.
    runtime = Runtime(settings, max_window_s=longest_window_s([*clips, *codes]))

    def open_context(seconds: float) -> LongContext:
        longest_s = seconds + MAX_CODE_S
        return context_for(
            settings_for[seconds],
            longest_s,
            turns=turns,
            placement=placement,
            recalls=recalls,
            texts=texts,
            runtime=runtime,
        )

    def ask(context: LongContext, at: tuple[float, float], code: int) -> None:
        task = tasks[code]
        answer = context.ask(task.question)
        replies.append(CodeReply(*at, task.answer, answer, is_right(task, answer)))
        if on_reply is not None:
            on_reply(replies[-1])

    with runtime:
        for seconds in settings_for:
            # Too long for the model, or too small a budget: told before anything is asked.
            open_context(seconds).load().close()
        with open_context(0.0) as context:
            spelled, _ = hear_clips(context, codes, 0.0)
            sounds, durations_s = hear_clips(context, clips, 1.0 if repeats else max(lengths_s))
            n_alone = min(len(codes), len(depths) * tries)
            for code in random.Random(seed).sample(range(len(codes)), n_alone):
                context.listen([spelled[code]])
                ask(context, (0.0, 0.0), code)
        for seconds in sorted(set(lengths_s)):
            rng = random.Random(seed)
            order = rng.sample(range(len(codes)), len(codes))
            with open_context(seconds) as context:
                places = [depth for _ in range(tries) for depth in depths]
                for first in range(0, len(places), together):
                    group, _ = draw_join(durations_s, seconds, rng)
                    inside = [sounds[i] for i in group]
                    # A step further each time round, so that no depth hears the same codes always.
                    numbers = range(first, first + together)
                    hidden = [order[(i + i // len(order)) % len(order)] for i in numbers]
                    at = places[first : first + together]
                    for depth, code in sorted(zip(at, hidden, strict=True), reverse=True):
                        inside.insert(round(depth * len(group)), spelled[code])
                    context.listen(inside)
                    for depth, code in zip(at, hidden, strict=True):
                        ask(context, (seconds, depth), code)
    return replies


def longest_window_s(clips: Sequence[Utterance]) -> float:
    """The longest of `clips`: what the encoder keeps for more is the cache's, under a cap."""
    try:
        longest_s = max(float(soundfile.info(str(clip.path)).duration) for clip in clips)
    except soundfile.SoundFileError:  # of a kind that only PyAV reads
        return _LONGEST_WINDOW_S
    return min(_LONGEST_WINDOW_S, longest_s)


def count_replies(n_codes: int, n_lengths: int, n_depths: int, tries: int) -> int:
    """How many replies `find_codes` will give."""
    return min(n_codes, n_depths * tries) + n_lengths * n_depths * tries


def cells(replies: Sequence[CodeReply]) -> list[CodeCell]:
    """One cell for each length and depth, in ascending order."""
    out = []
    for seconds, depth in sorted({(r.seconds, r.depth) for r in replies}):
        mine = [r.right for r in replies if (r.seconds, r.depth) == (seconds, depth)]
        share = sum(mine) / len(mine)
        out.append(CodeCell(seconds, depth, len(mine), share, *wilson(sum(mine), len(mine))))
    return out


def to_dict(replies: Sequence[CodeReply], **more: Any) -> dict[str, Any]:
    """JSON-ready: cells first, then every reply."""
    return {
        **more,
        "cells": [asdict(cell) for cell in cells(replies)],
        "replies": [asdict(reply) for reply in replies],
    }
