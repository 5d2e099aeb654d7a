"""Greedy decoding: one token after another until the turn ends or the guard steps in."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from edge_audiokv.engine.decoding.choose import Chooser, Likeliest
from edge_audiokv.engine.decoding.guard import LoopGuard
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.units import without_controls

# Tokens of a draft that are checked at once.
DRAFT_TOKENS = 12
# How far ahead in a draft a text may come back to it.
_NEAR_TOKENS = 8


class Vocabulary(Protocol):
    """What decoding needs of a model. `answer_tags` are two characters that tags in its answers
    stand between, or empty.
    """

    answer_tags: str

    def piece(self, token: int) -> bytes: ...

    def is_end_of_generation(self, token: int) -> bool: ...

    def answer_start(self, ids: Sequence[int], *, growing: bool = False) -> int: ...


class TokenSink(Protocol):
    """What decoding needs of a cache: tokens in, logits of the last one out."""

    def append_generated(self, ids: Sequence[int]) -> FloatArray: ...

    def append_draft(
        self, ids: Sequence[int], logits: FloatArray, chooser: Chooser
    ) -> tuple[int, FloatArray]: ...


@dataclass(frozen=True)
class Decoded:
    """The text of one answer. `ids` are the tokens behind `text`; `n_generated` counts all."""

    text: str
    ids: tuple[int, ...]
    n_generated: int
    flags: tuple[str, ...] = ()


def text_of(vocabulary: Vocabulary, ids: Sequence[int], *, growing: bool = False) -> str:
    """The answer in `ids`; bytes that are not yet whole characters are left out, and so are tags
    and what would steer a terminal. A text that is `growing` may not have come to its answer yet.
    """
    answer = ids[vocabulary.answer_start(ids, growing=growing) :]
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = decoder.decode(b"".join(vocabulary.piece(token) for token in answer))
    return without_controls(_outside(text, vocabulary.answer_tags, growing=growing))


def pieces_of(vocabulary: Vocabulary, ids: Sequence[int]) -> list[str]:
    """What each of `ids` adds to their answer; a character goes to the token that completes it."""
    start = vocabulary.answer_start(ids)
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    pieces = ["" if i < start else decoder.decode(vocabulary.piece(x)) for i, x in enumerate(ids)]
    if not vocabulary.answer_tags:
        return pieces
    text, at = "".join(pieces), 0
    kept = list(text)
    for tags in _tags(vocabulary.answer_tags).finditer(text):
        kept[tags.start() : tags.end()] = [" ", *[""] * (tags.end() - tags.start() - 1)]
    for i, piece in enumerate(pieces):
        pieces[i] = "".join(kept[at : at + len(piece)])
        at += len(piece)
    return pieces


def _outside(text: str, pair: str, *, growing: bool) -> str:
    """`text` with a space for each run of tags; one that is not closed yet may still be."""
    if not pair:
        return text
    if growing:
        head, opening, tail = text.rpartition(pair[0])
        text = head if opening and pair[1] not in tail else text
    return _tags(pair).sub(" ", text)


@cache
def _tags(pair: str) -> re.Pattern[str]:
    first, last = map(re.escape, pair)
    return re.compile(rf"\s*(?:{first}[^{first}{last}]*{last}\s*)+")


def greedy(
    cache: TokenSink,
    vocabulary: Vocabulary,
    logits: FloatArray,
    guard: LoopGuard,
    *,
    on_token: Callable[[Sequence[int]], None] | None = None,
    draft: Sequence[int] = (),
    chooser: Chooser | None = None,
) -> Decoded:
    """Decode greedily from `logits` [V] until the turn ends or `guard` stops it.

    `chooser` picks the tokens; by default the likeliest.

    After a normal end all of `ids` are in the cache, the end token is not. `on_token` sees all ids
    so far. `draft` is what the text may say: it is checked many tokens at a time (speculative
    decoding, with an earlier text or another reader's as the draft), what disagrees is decoded as
    usual, and the draft is taken up again where the text comes back to it.
    """
    chooser = chooser or Likeliest()
    guess = Guess(draft)
    verdict: str | None = None
    while verdict is None:
        ahead = guess.ahead
        if ahead:
            n_accepted, logits = cache.append_draft(ahead, logits, chooser)
            for token in ahead[:n_accepted]:
                guess.push(token)
                verdict = verdict or guard.push(token)
            if n_accepted and on_token is not None:
                on_token(guard.history)
            if verdict is not None:
                break
        token = chooser.pick(logits)
        if vocabulary.is_end_of_generation(token):
            break
        chooser.push(token)
        guess.push(token)
        verdict = guard.push(token)
        if on_token is not None:
            on_token(guard.history)
        if verdict is None:
            logits = cache.append_generated([token])
    ids = guard.clean()
    flags = () if verdict is None else (verdict,)
    return Decoded(text_of(vocabulary, ids).strip(), tuple(ids), len(guard.history), flags)


class Guess:
    """What a draft says comes next in a text that need not follow it."""

    def __init__(self, draft: Sequence[int]) -> None:
        self._draft = draft
        self._at = 0
        self._astray = False

    @property
    def ahead(self) -> Sequence[int]:
        """The rest of the draft; what differed is taken for one token in place of another."""
        return self._draft[self._at + self._astray :]

    def push(self, token: int) -> None:
        """The text goes on with `token`."""
        near = list(self._draft[self._at : self._at + _NEAR_TOKENS])
        self._astray = token not in near
        if not self._astray:
            self._at += near.index(token) + 1
