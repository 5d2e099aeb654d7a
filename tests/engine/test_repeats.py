"""What is really said several times is written several times, by the real default model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.engine.decoding.choose import WordsHeard
from edge_audiokv.engine.decoding.decode import Decoded
from edge_audiokv.engine.recognizer import Heard
from edge_audiokv.engine.transcriber import Transcriber
from edge_audiokv.kv.view import Kind

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("local_model")]

CUT = Decoded("he wrote", (1, 2), 2, ("loop",))
GAP = np.zeros(4800, np.float32)


@pytest.fixture(scope="module")
def whole() -> Iterator[Transcriber]:
    """Takes up to 30 s at once."""
    with Transcriber(threads=1, endpoint=EndpointConfig(max_segment_s=30.0)) as transcriber:
        yield transcriber


def said(clips, phrase: str, times: int, after: str) -> np.ndarray:
    parts = [clips[phrase].samples, GAP] * times
    return np.concatenate([*parts, clips[after].samples])


def check(clips, text: str, phrase: str, times: int, after: str) -> None:
    """Each round is there, most of its words at least, and so is all that follows."""
    spoken = clips[phrase].words
    n_said = sum(text.lower().split().count(word) for word in spoken)
    alone = sum(clips[after].words.__contains__(word) for word in spoken)
    # "the" and "a" stand more than once in a sentence.
    assert times - 0.5 < n_said / len(spoken) < times + 1.2 + alone / len(spoken), text
    rest = " ".join(text.split()[-len(clips[after].words) - 4 :])
    assert clips[after].share_heard(rest) > 0.75, text


@pytest.mark.parametrize(("phrase", "after"), [("harbour", "garden"), ("letter", "harbour")])
def test_a_sentence_said_four_times_is_written_four_times(whole, clips, phrase, after) -> None:
    decoded = whole.recognizer.recognize(said(clips, phrase, 4, after)).decoded
    assert decoded.flags == ()
    check(clips, decoded.text, phrase, 4, after)


def test_a_model_that_loses_its_place_finds_it_again(whole, clips, monkeypatch) -> None:
    # Nearly alone the LLM skips rounds: two are left out at least, or one is told once more.
    runtime, recognizer = whole.runtime, whole.recognizer
    deaf = WordsHeard(runtime.words, runtime.model, weight=0.05, floor=0.01)
    monkeypatch.setattr(runtime, "_words_heard", deaf)
    before = recognizer.watch.flags.get("retried", 0)
    heard = recognizer.recognize(said(clips, "letter", 4, "garden"))
    assert recognizer.watch.flags.get("retried", 0) == before + 1
    assert heard.decoded.flags == ()
    check(clips, heard.decoded.text, "letter", 4, "garden")
    closes_or_lets_go(recognizer, heard)


def test_without_words_nothing_after_a_cut_is_lost(whole, clips, monkeypatch) -> None:
    runtime, recognizer = whole.runtime, whole.recognizer
    alone = WordsHeard((), runtime.model, weight=0.0, floor=0.01)
    monkeypatch.setattr(runtime, "_words_heard", alone)
    decoded = recognizer.recognize(said(clips, "harbour", 4, "garden")).decoded
    n_rounds = decoded.text.lower().split().count("looked")
    assert n_rounds >= 2, decoded.text
    assert clips["garden"].share_heard(decoded.text) > 0.5, decoded.text


def test_a_transcript_in_any_format_comes_with_a_warning(whole, clips, monkeypatch) -> None:
    cut = replace(whole.recognizer.recognize(clips["letter"].samples), decoded=CUT)
    monkeypatch.setattr(whole.recognizer, "recognize", lambda samples, **kinds: cut)
    told: list[str] = []
    (final,) = whole.transcribe(clips["letter"].path, on_warning=told.append)
    assert final.flags == CUT.flags
    assert len(told) == 1 and "words may be missing" in told[0]


def closes_or_lets_go(recognizer, heard: Heard) -> None:
    """The turn in the cache is that of the text, or the recognizer says that it is not."""
    runtime, cache = recognizer.runtime, recognizer.cache
    closed = recognizer.close_turn(heard)
    if not closed:
        return
    held = cache.next_position
    cache.clear()
    template = runtime.template
    cache.append_tokens(template.before_ids(runtime.model), Kind.PROMPT)
    cache.append_embeddings(heard.sound.embeddings)
    cache.append_tokens(template.after_ids(runtime.model), Kind.PROMPT)
    cache.append_tokens(heard.decoded.ids, Kind.TEXT)
    cache.append_tokens(template.end_ids(runtime.model), Kind.PROMPT)
    assert held == cache.next_position
