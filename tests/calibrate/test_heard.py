"""Word times from an encoder's own words."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from edge_audiokv.calibrate.heard import heard_words
from edge_audiokv.encoder.sound import Sound
from edge_audiokv.errors import InputError

VOCABULARY = ("<none>", " rich", "mond", " is", " far", " russia")


def sound(*rows: dict[int, float]) -> Sound:
    """Two words a row; what is missing is the first of the vocabulary, believed in not at all."""
    words = np.array([[*row, *[0] * (2 - len(row))] for row in rows], np.int32).reshape(-1, 2)
    beliefs = [[*row.values(), *[0.0] * (2 - len(row))] for row in rows]
    shaped = np.array(beliefs, np.float32).reshape(-1, 2)
    return Sound(np.zeros((len(rows), 3), np.float32), words, shaped)


def spell(word: str) -> list[str]:
    return re.findall(r" ?(?:rich|mond|is|far|russia|\w+)", " " + word)


HEARD = sound({}, {5: 0.5, 1: 0.4}, {2: 0.9}, {}, {}, {3: 0.8}, {}, {}, {}, {4: 0.95}, {})


def test_words_lie_where_their_pieces_were_heard() -> None:
    words = heard_words(HEARD, VOCABULARY, ["richmond", "is", "far"], spell, frame_s=0.08)
    assert [word.text for word in words] == ["richmond", "is", "far"]
    rows = [(word.start_s / 0.08, word.end_s / 0.08) for word in words]
    assert all(start <= row < end for (start, end), row in zip(rows, (1, 5, 9), strict=True))
    assert all(a[1] <= b[0] + 1e-9 for a, b in itertools.pairwise(rows)), "no overlap"
    assert [word.confidence for word in words] == pytest.approx([0.4, 0.8, 0.95], abs=1e-6)


def test_a_word_that_was_not_heard_or_cannot_be_spelt_is_not_believed() -> None:
    words = heard_words(HEARD, VOCABULARY, ["richmond", "zoo", "far"], spell, frame_s=0.08)
    assert words[1].confidence < 1e-3 < words[0].confidence
    assert words[0].end_s <= words[1].start_s + 1e-9 and words[1].end_s <= words[2].start_s + 1e-9


def test_too_many_words_do_not_fit() -> None:
    with pytest.raises(InputError, match="do not fit"):
        heard_words(HEARD, VOCABULARY, ["richmond"] * 20, spell, frame_s=0.08)
    with pytest.raises(InputError, match="without rows"):
        heard_words(sound(), VOCABULARY, ["far"], spell, frame_s=0.08)
    assert heard_words(HEARD, VOCABULARY, [], spell, frame_s=0.08) == []
