"""The forced alignment that gives words their times, on posteriors made by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from edge_audiokv.errors import InputError

_spec = importlib.util.spec_from_file_location(
    "align_words", Path(__file__).parents[2] / "scripts" / "align_words.py"
)
assert _spec is not None and _spec.loader is not None
align_words = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(align_words)

CLASSES = {"good": [1], "evening": [2, 3]}


def spell(word: str) -> list[int]:
    return CLASSES.get(word, [])


def log_probs(path: list[int]) -> np.ndarray:
    """Posteriors of 0.9 along a path of classes."""
    rows = np.full((len(path), 4), 0.1 / 3)
    rows[np.arange(len(path)), path] = 0.9
    return np.log(rows).astype(np.float32)


def test_words_lie_where_their_classes_are_likely():
    path = [0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 3, 0]
    good, evening = align_words.timed_words(log_probs(path), "GOOD EVENING", spell)
    assert (good["text"], evening["text"]) == ("good", "evening")
    assert good["start_s"] <= 2 * 0.08 < good["end_s"] <= evening["start_s"] + 1e-6
    assert evening["start_s"] <= 9 * 0.08 and evening["end_s"] >= 11 * 0.08
    assert good["confidence"] == evening["confidence"] == pytest.approx(0.9, abs=1e-3)


def test_a_word_that_is_not_there_has_low_confidence():
    path = [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    good, evening = align_words.timed_words(log_probs(path), "good evening", spell)
    assert good["confidence"] > 0.8 > 0.1 > evening["confidence"]


def test_what_cannot_be_spelled_or_does_not_fit_is_refused():
    with pytest.raises(InputError, match="'morning' cannot be spelled"):
        align_words.timed_words(log_probs([0, 1]), "good morning", spell)
    with pytest.raises(InputError, match="do not fit"):
        align_words.timed_words(log_probs([0, 1]), "good evening", spell)
