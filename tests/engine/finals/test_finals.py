"""Words, times and doubts in the finals of the real model."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_audiokv.engine.decoding.decode import Decoded
from edge_audiokv.engine.finals.finals import Finals
from edge_audiokv.engine.recognizer import Heard
from edge_audiokv.engine.session import Session
from edge_audiokv.engine.transcriber import Transcriber
from edge_audiokv.errors import UnfitModelError
from edge_audiokv.events import Final, Warned

pytestmark = pytest.mark.integration

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
def timed(transcriber: Transcriber, monkeypatch: pytest.MonkeyPatch) -> Transcriber:
    """The shared transcriber, asked for words."""
    asked = replace(transcriber.settings, word_timestamps=True)
    monkeypatch.setattr(transcriber.runtime, "settings", asked)
    return transcriber


def _samples(path: Path) -> np.ndarray:
    samples: np.ndarray = soundfile.read(str(path), dtype="float32")[0]
    return samples


def doubts(warnings: list[str]) -> list[str]:
    """Those about the language; that words may be missing is told beside them."""
    return [warning for warning in warnings if "hardly sounds like English" in warning]


def check_words(final: Final) -> None:
    assert " ".join(word.text for word in final.words) == final.text
    assert all(final.start_s <= w.start_s <= w.end_s <= final.end_s for w in final.words)
    assert all(a.end_s <= b.start_s for a, b in itertools.pairwise(final.words))
    assert all(0 <= word.confidence <= 1 for word in final.words)
    assert final.confidence is not None and 0 <= final.confidence <= 1


def test_words_lie_inside_their_sentences(timed: Transcriber) -> None:
    first, second = timed.transcribe(DATA / "two_sentences.flac")
    for final in (first, second):
        check_words(final)
    # The clip is silent between them.
    assert first.words[-1].end_s < second.words[0].start_s - 1
    # Clear words are believed in, and every word lasts as long as words do.
    assert first.confidence is not None and first.confidence > 0.8
    assert all(0.04 <= word.end_s - word.start_s <= 1.0 for word in first.words)


def test_words_are_not_reckoned_unless_asked_for(transcriber: Transcriber) -> None:
    (final, _) = transcriber.transcribe(DATA / "two_sentences.flac")
    assert final.words == () and final.confidence is None


def test_attention_finds_words_where_the_encoder_names_none(
    timed: Transcriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = DATA / "garden.flac"
    (by_words,) = timed.transcribe(path)
    monkeypatch.setattr(type(timed.runtime.encoder), "words", ())
    (by_looks,) = timed.transcribe(path)
    check_words(by_looks)
    assert by_looks.text == by_words.text
    off = [abs(a.start_s - b.start_s) for a, b in zip(by_looks.words, by_words.words, strict=True)]
    assert sorted(off)[len(off) // 2] <= 0.1 and max(off) <= 0.5
    # Text that another sound came after is read back as well.
    recognizer = timed.recognizer
    heard = recognizer.recognize(_samples(path))
    finals = Finals(timed.runtime, recognizer)
    bare = Final(0, 0.0, 9.0, heard.decoded.text)
    told = finals.tell(bare, heard)
    recognizer.recognize(_samples(DATA / "letter.flac"))
    again = finals.tell(bare, heard)
    assert [w.text for w in again.words] == [w.text for w in told.words]
    assert all(
        abs(a.start_s - b.start_s) < 0.01 for a, b in zip(again.words, told.words, strict=True)
    )


def test_a_session_tells_words_and_doubts_too(local_model: object) -> None:
    with Session(threads=1, word_timestamps=True, report_interval_s=0.0) as session:
        events = list(session.listen(DATA / "languages" / "german.ogg"))
    finals = [event for event in events if isinstance(event, Final)]
    assert len(finals) >= 2
    for final in finals:
        check_words(final)
    warnings = [event.message for event in events if isinstance(event, Warned)]
    assert len(doubts(warnings)) == 1


@pytest.mark.parametrize("name", ["german", "mandarin"])
def test_other_languages_are_doubted_once(transcriber: Transcriber, name: str) -> None:
    warnings: list[str] = []
    list(transcriber.transcribe(DATA / "languages" / f"{name}.ogg", on_warning=warnings.append))
    assert len(doubts(warnings)) == 1


def test_english_is_not_doubted(transcriber: Transcriber) -> None:
    warnings: list[str] = []
    for name in ("harbour", "garden", "letter", "two_sentences"):
        path = DATA / f"{name}.flac"
        list(transcriber.transcribe(path, on_warning=warnings.append))
    assert doubts(warnings) == []


def test_who_names_the_language_is_believed(
    transcriber: Transcriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = replace(transcriber.settings, language="en")
    monkeypatch.setattr(transcriber.runtime, "settings", named)
    recognizer = transcriber.recognizer
    sound = transcriber.runtime.encoder.hear(_samples(DATA / "languages" / "german.ogg"))
    finals = Finals(transcriber.runtime, recognizer)
    finals.tell(Final(0, 0.0, 14.0, ""), Heard(Decoded("", (), 0), sound))
    assert finals.take_warnings() == []


def test_a_language_that_the_model_does_not_know_is_refused(local_model: object) -> None:
    with pytest.raises(UnfitModelError, match="does not know German"):
        Transcriber(language="de").load()
