"""Which tokens of an answer only write tags: times and speakers, in brackets of the model's own."""

from __future__ import annotations

import codecs
from typing import Protocol


class Vocabulary(Protocol):
    """What reading tags needs of a model. `answer_tags` are the two characters that tags stand
    between, or empty.
    """

    answer_tags: str

    def piece(self, token: int) -> bytes: ...


class Tags:
    """Follows one answer, token by token."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._first, self._last = tuple(vocabulary.answer_tags)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.is_open = False
        """The answer so far ends within a tag."""

    def push(self, token: int) -> bool:
        """The answer goes on with `token`; does that only write tags?"""
        text = self._decoder.decode(self._vocabulary.piece(token))
        touches = self.is_open or self._first in text
        outside = ""
        for character in text:
            if character == self._first:
                self.is_open = True
            elif not self.is_open:
                outside += character
            elif character == self._last:
                self.is_open = False
        return touches and not outside.strip()


def tags_of(vocabulary: Vocabulary) -> Tags | None:
    """For a new answer; None if the model writes no tags."""
    return Tags(vocabulary) if vocabulary.answer_tags else None
