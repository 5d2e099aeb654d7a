"""Bad sound and bad luck: each ends in text, in an event, or in one line that a person can use."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from edge_audiokv.audio.files.file import FileSource
from edge_audiokv.engine.session import Session
from edge_audiokv.errors import InputError, ModelError
from edge_audiokv.events import Event, Evicted, Final, Partial, SessionEnded, Warned

from .guarantees import check_guarantees

pytestmark = [pytest.mark.integration, pytest.mark.alone]
RATE_HZ = 16_000


def text_of(events: list[Event]) -> str:
    return " ".join(event.text for event in events if isinstance(event, Final))


def warnings_of(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Warned)]


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fresh", "rolling"])
def test_an_hour_of_silence_adds_nothing(clips, context) -> None:
    script = Path(__file__).parent / "silent_hour.py"
    done = subprocess.run(
        [sys.executable, str(script), context], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["events"] == 60 * ["MemoryReport"]
    # Rows, positions and seconds encoded: only the voice detector worked.
    assert facts["after"] == facts["before"]
    assert facts["grown_bytes"] < 4 << 20
    # And it still hears.
    assert clips["garden"].share_heard(facts["text"]) > 0.5


@pytest.mark.parametrize("kind", ["noise", "hum"])
def test_what_is_not_speech_gives_no_text(session: Session, kind: str) -> None:
    chance = np.random.default_rng(1)
    time_s = np.arange(20 * RATE_HZ) / RATE_HZ
    sound = {
        "noise": 0.05 * chance.standard_normal(time_s.size),
        "hum": 0.3 * np.sin(2 * np.pi * 50 * time_s),
    }[kind]
    events = [*session.feed(sound.astype(np.float32)), *session.finish()]
    assert [type(event) for event in events] == [SessionEnded]


def test_clipped_speech_is_heard_and_told(session: Session, clips) -> None:
    clip = clips["garden"]
    clipped = np.clip(12 * clip.samples, -1, 1)
    assert np.mean(np.abs(clipped) == 1) > 0.01
    events = [*session.feed(clipped, live=False), *session.finish()]
    check_guarantees(events)
    assert [("clipped" in text) for text in warnings_of(events)] == [True]
    assert clip.share_heard(text_of(events)) > 0.3


def test_nan_samples_are_silence_and_told_once(session: Session, clips) -> None:
    clip = clips["garden"]
    broken = clip.samples.copy()
    broken[::997] = np.nan
    broken[5::4999] = np.inf
    halves = np.array_split(broken, 2)
    events = [event for half in halves for event in session.feed(half, live=False)]
    events += session.finish()
    check_guarantees(events)
    assert [("NaN" in text) for text in warnings_of(events)] == [True]
    assert clip.share_heard(text_of(events)) > 0.5


def test_nothing_but_nan_is_silence(session: Session) -> None:
    events = [*session.feed(np.full(3 * RATE_HZ, np.nan, np.float32)), *session.finish()]
    assert text_of(events) == "" and len(warnings_of(events)) == 1


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
def test_any_rate_is_heard(session: Session, clips, rate_hz: int) -> None:
    clip = clips["garden"]
    sound = soxr.resample(clip.samples, RATE_HZ, rate_hz).astype(np.float32)
    events: list[Event] = []
    for block in np.array_split(sound, 13):
        events += session.feed(block, rate_hz, live=False)
    events += session.finish()
    check_guarantees(events)
    assert clip.share_heard(text_of(events)) > 0.4
    assert events[-1].time_s == pytest.approx(len(clip.samples) / RATE_HZ, abs=0.001)


def test_the_rate_may_change_only_between_streams(session: Session, clips) -> None:
    session.feed(clips["harbour"].samples[:8000], 16_000, live=False)
    with pytest.raises(InputError, match=r"finish\(\)"):
        session.feed(clips["harbour"].samples[:8000], 8_000)
    session.finish()
    session.feed(clips["harbour"].samples[:8000], 8_000, live=False)
    session.finish()


@pytest.mark.parametrize("channels", [2, 6])
def test_many_channels_are_mixed(session: Session, clips, channels: int) -> None:
    clip = clips["garden"]
    frames = np.stack([clip.samples] * channels, axis=1)
    events = [*session.feed(frames, live=False), *session.finish()]
    assert clip.share_heard(text_of(events)) > 0.5


@pytest.mark.parametrize("pcm", [{}, np.zeros((3, 3, 3)), np.zeros(9, np.uint8), "sound"])
def test_what_is_not_sound_is_refused_and_the_session_goes_on(session, clips, pcm) -> None:
    with pytest.raises(InputError):
        session.feed(pcm)
    events = [*session.feed(clips["harbour"].samples, live=False), *session.finish()]
    assert clips["harbour"].share_heard(text_of(events)) > 0.5


def test_an_empty_file_is_refused_before_anything_is_told(session: Session, tmp_path) -> None:
    path = tmp_path / "empty.wav"
    path.touch()
    with pytest.raises(InputError, match="empty"):
        next(session.listen(FileSource(path)))


def test_a_file_without_samples_is_refused(session: Session, tmp_path) -> None:
    path = tmp_path / "nothing.wav"
    soundfile.write(path, np.zeros(0, np.float32), RATE_HZ)
    with pytest.raises(InputError, match="no samples"):
        next(session.listen(FileSource(path)))


def test_a_truncated_file_is_heard_as_far_as_it_goes(session: Session, clips, tmp_path) -> None:
    clip = clips["two_sentences"]
    path = tmp_path / "cut.wav"
    soundfile.write(path, clip.samples, RATE_HZ)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    events = list(session.listen(FileSource(path)))
    check_guarantees(events)
    assert any("cut short" in text for text in warnings_of(events))
    assert "train" in text_of(events)
    # Heard again, the warning comes later: on the session's clock, not on the file's.
    again = list(session.listen(FileSource(path)))
    check_guarantees([*events[:-1], *again])
    (warned,) = (event for event in again if isinstance(event, Warned))
    assert warned.time_s >= events[-1].time_s


def test_a_file_that_breaks_half_way_keeps_what_came_before(session, clips, tmp_path) -> None:
    clip = clips["two_sentences"]
    path = tmp_path / "broken.wav"
    broken = clip.samples.copy()
    broken[4 * RATE_HZ :] = np.nan
    soundfile.write(path, broken, RATE_HZ, subtype="FLOAT")
    events: list[Event] = []
    with pytest.raises(InputError, match="NaN"):
        for event in session.listen(FileSource(path)):
            events.append(event)
    check_guarantees(events)
    assert "train" in text_of(events)


def test_who_feeds_may_end_a_turn_forget_it_and_cut_otherwise(renew, clips) -> None:
    session, samples = renew(), clips["letter"].samples
    own = session.settings.endpoint
    session.feed(samples, live=False)
    (final,) = [event for event in session.pause() if isinstance(event, Final)]
    assert final.text and not session.pause()
    session.feed(samples, live=False)
    session.abandon()
    assert not session.pause()
    session.adjust(replace(session.settings, endpoint=replace(own, silence_duration_ms=2000)))
    told = session.feed(np.concatenate([samples, np.zeros(16_000, np.float32)]), live=False)
    assert not [event for event in told if isinstance(event, Final)]
    assert session.finish()[0].id > final.id
    # A session that begins anew cuts as it was made to.
    session.forget()
    assert session.settings.endpoint == own
    told = session.feed(np.concatenate([samples, np.zeros(16_000, np.float32)]), live=False)
    assert [event.text for event in told if isinstance(event, Final)] == [final.text]


def test_sound_shorter_than_a_word_is_nothing(session: Session) -> None:
    for size in (0, 1, 100, 511):
        session.feed(np.full(size, 0.5, np.float32))
    assert [type(event) for event in session.finish()] == [SessionEnded]


def test_speech_without_a_pause_is_split_and_loses_nothing(session: Session, clips) -> None:
    endless = np.concatenate([clips[name].samples for name in ("garden", "harbour", "letter")])
    events = [*session.feed(endless, live=False), *session.finish()]
    check_guarantees(events)
    finals = [event for event in events if isinstance(event, Final)]
    longest_s = session.settings.endpoint.max_segment_s
    assert len(finals) >= 2
    assert all(final.end_s - final.start_s <= longest_s for final in finals)
    for name in ("garden", "harbour"):
        assert clips[name].share_heard(text_of(events)) > 0.4


def test_a_full_memory_frees_rows_and_goes_on(clips) -> None:
    with Session(threads=1, mem="4GB", kv_share=0.05, report_interval_s=0.0) as session:
        events: list[Event] = []
        for _ in range(5):
            events += session.feed(clips["garden"].samples, live=False)
            events += session.finish()
        memory = session.caches.memory.context
        assert (memory.counts <= memory.capacity).all()
        freed = sum(event.freed_rows for event in events if isinstance(event, Evicted))
        assert freed > 0
        finals = [event for event in events if isinstance(event, Final)]
        assert len(finals) == 5 and finals[0].text == finals[-1].text
        assert not any(isinstance(event, Partial) for event in events)
        session.ask("What did she find?")


@pytest.mark.parametrize("way", ["listen", "feed"])
def test_a_callback_may_close_the_session(clips, way: str) -> None:
    session = Session(threads=1, mem="4GB", report_interval_s=0.0)
    session.on_final = lambda final: session.close()
    clip = clips["garden"]
    if way == "listen":
        events = list(session.listen(FileSource(clip.path)))
    else:
        events = [*session.feed(clip.samples, live=False), *session.finish()]
    assert clip.share_heard(text_of(events)) > 0.5
    assert isinstance(events[-1], SessionEnded)
    # Closed it stays: nothing was loaded again to end the work.
    with pytest.raises(ModelError, match="not loaded"):
        _ = session.runtime.model


@pytest.mark.parametrize("question", [None, 5, b"What?", "\udcff", "", "a " * 500])
def test_questions_that_are_none(session: Session, question) -> None:
    if question == "\udcff":  # an argument of a command line that is no text
        assert session.ask(question).question == "?"
        return
    with pytest.raises(InputError):
        session.ask(question)


@pytest.mark.parametrize("source", [None.__class__, 5, {"talk.wav": 1}])
def test_what_is_no_source(session: Session, source) -> None:
    with pytest.raises(InputError, match="no source of sound"):
        next(session.listen(source))
