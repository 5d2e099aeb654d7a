"""Reading while somebody speaks: what is settled when, and that it reads as if read at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.ahead import ReadAhead
from edge_audiokv.engine.session import Session
from edge_audiokv.events import Final
from edge_audiokv.models.token_rule import TokenRule

from .conftest import Speech
from .scripted import SOUND, Script, scripted_hearing, silence, speech

RATE_HZ = 16_000


def numbered(hearing, monkeypatch) -> None:
    """Each hearing gives rows of its own: how long it was, and which row."""

    def hear(samples: np.ndarray, final: bool = False) -> Sound:
        n = max(1, len(samples) // 1280)
        return Sound.of(np.stack([np.full(n, n), np.arange(n)], axis=1).astype(np.float32))

    monkeypatch.setattr(hearing.recognizer.runtime, "hear", hear)


@pytest.mark.parametrize("blocks", [[1600], [16_000], [700, 4100, 90]])
def test_rows_are_settled_at_times_that_depend_on_the_sound_alone(blocks, monkeypatch) -> None:
    hearing = scripted_hearing(Script("words"), max_segment_s=20.0, partial_interval_s=0.0)
    numbered(hearing, monkeypatch)
    ahead, seen = ReadAhead(hearing.recognizer), []
    start, turn, sound = 0, 0, speech(8.0)
    while start < len(sound):
        start += blocks[turn % len(blocks)]
        turn += 1
        if (heard := ahead.look(sound[:start])) is not None:
            seen.append(heard)
    # Two seconds each time, once a third was heard: after 3, 5 and 7 s.
    assert [len(each) for each in seen] == [37, 62, 87]
    whole = ahead.settled(hearing.recognizer.runtime.hear(sound))
    lengths = [37] * 25 + [62] * 25 + [87] * 25 + [100] * 25
    np.testing.assert_array_equal(whole.embeddings[:, 0], lengths)
    np.testing.assert_array_equal(whole.embeddings[:, 1], np.arange(100))
    # A segment may be cut before what is settled.
    short = ahead.settled(hearing.recognizer.runtime.hear(sound[: 20 * 1280]))
    np.testing.assert_array_equal(short.embeddings[:, 0], [37] * 20)
    ahead.reset()
    assert ahead.settled(short) is short


def test_the_llm_reads_no_settled_row_again(monkeypatch) -> None:
    hearing = scripted_hearing(Script("words"), max_segment_s=20.0, partial_interval_s=0.0)
    numbered(hearing, monkeypatch)
    cache = hearing.recognizer.cache
    read: list[int] = []
    append = cache.append_embeddings
    monkeypatch.setattr(
        cache, "append_embeddings", lambda rows: (read.append(len(rows)), append(rows))
    )
    events = [*hearing.take(speech(8.05), live=True), *hearing.take(silence(0.4), live=True)]
    # 25 at 3, 5 and 7 s, and in the pause what is left of 8.3 s, the quarter before it included.
    assert read == [25, 25, 25, 28]
    events += [*hearing.take(silence(0.5), live=True), *hearing.flush()]
    assert len(read) == 4 and [e.text for e in events if isinstance(e, Final)] == ["words"]
    # The memory has taken over all of it, once.
    assert hearing.caches.memory.held.count(SOUND) == 103
    assert cache.n_forgotten == 3


def test_where_rows_depend_on_what_follows_nothing_is_settled(monkeypatch) -> None:
    hearing = scripted_hearing(Script("words"))
    rule = TokenRule(kind="windows", block_s=2.0)
    monkeypatch.setattr(hearing.recognizer.runtime.encoder, "rule", rule)
    assert ReadAhead(hearing.recognizer).look(speech(10.0)) is None


def test_a_machine_that_is_too_slow_reads_ahead_less_often(monkeypatch) -> None:
    hearing = scripted_hearing(Script("words"))
    clock = iter(range(100))  # a second for each hearing
    time = SimpleNamespace(perf_counter=lambda: next(clock))
    monkeypatch.setattr("edge_audiokv.engine.ahead.time", time)
    ahead = ReadAhead(hearing.recognizer)
    lengths = np.arange(1, 12, 0.5)
    times = [s for s in lengths if ahead.look(speech(float(s))) is not None]
    assert times == [3.0, 7.0, 11.0]


@pytest.mark.integration
def test_a_sound_that_goes_on_is_read_as_if_it_were_new(
    renew: Callable[..., Session], clips: dict[str, Speech]
) -> None:
    hearing = renew()._loaded()
    recognizer, cache = hearing.recognizer, hearing.recognizer.cache

    def state() -> tuple[np.ndarray, list[np.ndarray], dict[str, np.ndarray]]:
        values = [cache.context.read_values(layer, 0) for layer in (0, 29)]
        return cache.context.counts, values, dict(cache.controller._statistics._data)

    samples = clips["letter"].samples
    sound = recognizer.hear(samples)
    rows = sound.embeddings
    fresh = recognizer.read(sound, len(samples) / RATE_HZ)
    counts, values, statistics = state()
    statistics = {name: array.copy() for name, array in statistics.items()}
    # Another sound with the same beginning first, with a text that looked at it.
    cache.clear()
    recognizer.read_ahead(rows[:20])
    other = replace(sound, embeddings=np.concatenate([rows[:30], rows[30:][::-1]]))
    recognizer.read(other, 3.0)
    again = recognizer.read(replace(sound), len(samples) / RATE_HZ)
    assert again.decoded.text == fresh.decoded.text
    after = state()
    np.testing.assert_array_equal(after[0], counts)
    for mine, expected in zip(after[1], values, strict=True):
        np.testing.assert_allclose(mine, expected, atol=0.02)
    for name, array in after[2].items():
        np.testing.assert_allclose(array, statistics[name], atol=0.02, err_msg=name)
