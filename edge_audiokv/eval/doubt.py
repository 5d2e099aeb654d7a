"""Is what was not said admitted, and what was said answered?

Joins of clips are heard as a session's turns and asked about things that were said in them and
about things that were not: a code (one is hidden in every second join), sentences by one of their
words, and questions with known answers, which are put to a recording of something else, too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_audiokv.audio.files.file import read_all
from edge_audiokv.calibrate.clips import spoken
from edge_audiokv.errors import InputError
from edge_audiokv.eval.codes import digits_of
from edge_audiokv.eval.long_context import Conversation
from edge_audiokv.eval.recall import draw_join, hear_clips, wilson
from edge_audiokv.eval.tasks import CODE, MIN_LETTERS, REPEAT, Task, is_right, spoken_code
from edge_audiokv.eval.wer import Utterance, normalise
from edge_audiokv.manifest import read_lines


@dataclass(frozen=True)
class Known:
    """A question with its answers in plain words, about the clips of these ids."""

    question: str
    accept: tuple[str, ...]
    clips: tuple[str, ...]


@dataclass(frozen=True)
class Doubt:
    """What was answered. `said` tells whether an answer was there to be heard."""

    kind: str
    question: str
    said: bool
    text: str
    declined: bool
    right: bool
    evidence: float | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class Doubts:
    """Of questions of one kind: how many were answerable, refused all the same and answered right,
    and how many were not, and answered; with 95 % Wilson intervals.
    """

    kind: str
    said: int
    refused: float
    refused_low: float
    refused_high: float
    right: float
    unsaid: int
    answered: float
    answered_low: float
    answered_high: float


def read_known(path: Path) -> list[Known]:
    """Questions of a file of JSON lines with "question", "accept" and "utterances".

    Raises InputError for a line that lacks one of them.
    """
    found = []
    for number, data in read_lines(path):
        accept, clips = data.get("accept"), data.get("utterances")
        if not (data.get("question") and isinstance(accept, list) and isinstance(clips, list)):
            raise InputError(
                f"line {number} of {path} is no question with its answers.",
                cure='Each line needs "question", and as lists "accept" and "utterances".',
            )
        found.append(Known(str(data["question"]), tuple(map(str, accept)), tuple(map(str, clips))))
    return found


def doubt_joins(
    context: Conversation,
    clips: Sequence[Utterance],
    codes: Sequence[Utterance],
    *,
    seconds: float,
    joins: int,
    questions: int,
    seed: int = 0,
    on_doubt: Callable[[Doubt], None],
) -> None:
    """A code, and `questions` sentences of each sort, about each join."""
    digits, rng = digits_of(codes), random.Random(seed)
    clips = [clip for clip in clips if not spoken_code(spoken(clip.text))]
    spelled, _ = hear_clips(context, codes, 0.0)
    sounds, durations_s = hear_clips(context, clips, seconds)
    texts = [spoken(clip.text) for clip in clips]
    every = sorted({word for text in texts for word in text.split() if len(word) >= MIN_LETTERS})
    for number in range(joins):
        group, _ = draw_join(durations_s, seconds, rng)
        inside, code, hides = [sounds[i] for i in group], number % len(codes), number % 2 == 0
        if hides:
            inside.insert(rng.randrange(len(inside) + 1), spelled[code])
        context.listen(inside)
        answers = [Task("code", CODE, digits[code])] if hides else []
        on_doubt(_asked(context, "code", CODE, answers))
        said = {word for i in group for word in texts[i].split()}
        here = [word for word in every if word in said]
        absent = [word for word in every if word not in said]
        for words in (here, absent):
            for word in rng.sample(words, min(questions, len(words))):
                question = REPEAT.format(word=word)
                holders = [texts[i] for i in group if word in texts[i].split()]
                answers = [Task("repeat", question, text) for text in holders]
                on_doubt(_asked(context, "sentence", question, answers))


def doubt_known(
    context: Conversation,
    clips: Sequence[Utterance],
    known: Sequence[Known],
    *,
    seed: int = 0,
    on_doubt: Callable[[Doubt], None],
) -> None:
    """Every question about its own clips, and as many of others about them.

    Raises InputError if a clip is missing.
    """
    rng, by_id = random.Random(seed), {clip.id: clip for clip in clips}
    missing = sorted({name for item in known for name in item.clips} - set(by_id))
    if missing:
        raise InputError(f"The manifest has no clip {missing[0]}.", cure="Give the whole manifest.")
    about: dict[tuple[str, ...], list[Known]] = {}
    for item in known:
        about.setdefault(item.clips, []).append(item)
    for names, own in about.items():
        context.listen([context.hear(read_all(by_id[name].path)) for name in names])
        for item in own:
            on_doubt(_asked_known(context, item, said=True))
        others = [item for item in known if not set(item.clips) & set(names)]
        for item in rng.sample(others, min(len(own), len(others))):
            on_doubt(_asked_known(context, item, said=False))


def summarise(doubts: Sequence[Doubt]) -> list[Doubts]:
    """One row for each kind, and one for all."""
    kinds = list(dict.fromkeys(doubt.kind for doubt in doubts))
    rows = [(kind, [doubt for doubt in doubts if doubt.kind == kind]) for kind in kinds]
    out = []
    for kind, mine in [*rows, ("all", list(doubts))]:
        said = [doubt for doubt in mine if doubt.said]
        unsaid = [doubt for doubt in mine if not doubt.said]
        refused = sum(doubt.declined for doubt in said)
        answered = sum(not doubt.declined for doubt in unsaid)
        out.append(
            Doubts(
                kind,
                len(said),
                _share(refused, said),
                *wilson(refused, len(said)),
                _share(sum(doubt.right for doubt in said), said),
                len(unsaid),
                _share(answered, unsaid),
                *wilson(answered, len(unsaid)),
            )
        )
    return out


def to_dict(doubts: Sequence[Doubt], **more: Any) -> dict[str, Any]:
    """JSON-ready: the rows, then every answer."""
    return {
        **more,
        "rows": [asdict(row) for row in summarise(doubts)],
        "answers": [asdict(doubt) for doubt in doubts],
    }


def _asked(context: Conversation, kind: str, question: str, answers: Sequence[Task]) -> Doubt:
    """`answers` are those that would be right; none if nothing was said."""
    given = context.answer(question)
    right = not given.declined and any(is_right(task, given.text) for task in answers)
    weighed = given.evidence, given.confidence
    return Doubt(kind, question, bool(answers), given.text, given.declined, right, *weighed)


def _asked_known(context: Conversation, item: Known, *, said: bool) -> Doubt:
    given = context.answer(item.question)
    # As words are counted: "eighteen oh three" is 1803, and "Richard's" names Richard.
    text = f" {normalise(given.text)} "
    right = said and not given.declined and any(f" {normalise(a)} " in text for a in item.accept)
    weighed = given.evidence, given.confidence
    return Doubt("fact", item.question, said, given.text, given.declined, right, *weighed)


def _share(count: int, of: Sequence[Doubt]) -> float:
    return count / len(of) if of else 0.0
