"""A real session on real speech: what it promises, and what other threads may do meanwhile."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_audiokv.audio.files.file import FileSource
from edge_audiokv.audio.source import AudioSource
from edge_audiokv.engine.session import Session
from edge_audiokv.errors import (
    DeviceError,
    InputError,
    MemoryBudgetError,
    MissingExtraError,
    ModelError,
)
from edge_audiokv.eval.wer import normalise
from edge_audiokv.events import Answer, Event, Final, Partial, SessionEnded, SpeechStarted

from .conftest import Speech
from .guarantees import check_guarantees

pytestmark = pytest.mark.integration
SECOND = np.zeros(16_000, np.float32)


def texts(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Final)]


def state_of(session: Session) -> tuple[bytes, dict[str, bytes], int]:
    """All that a question must leave as it was: rows, statistics of attention, positions."""
    cache = session.caches.memory
    statistics = cache.controller._statistics._data
    return (
        cache.context.save_state(),
        {name: array.tobytes() for name, array in statistics.items()},
        cache.next_position,
    )


def test_a_path_will_do(renew, clips) -> None:
    clip = clips["letter"]
    by_name = list(renew().listen(str(clip.path)))
    by_source = list(renew().listen(FileSource(clip.path)))
    assert by_name == by_source
    assert clip.share_heard(" ".join(texts(by_name))) > 0.5
    with pytest.raises(InputError, match=r"no file nosuch\.flac"):
        next(renew().listen(Path("nosuch.flac")))


@pytest.mark.parametrize("context", ["fresh", "rolling"])
def test_a_file_is_heard_and_every_promise_kept(renew, clips, context) -> None:
    session = renew(context=context)
    seen: list[Event] = []
    session.on_event = seen.append
    clip = clips["two_sentences"]
    events = list(session.listen(FileSource(clip.path)))
    check_guarantees(events)
    assert seen == events
    assert len(texts(events)) == 2
    assert clip.share_heard(" ".join(texts(events))) > 0.5
    assert events[-1].reason == "end of the source"


@pytest.mark.parametrize("context", ["fresh", "rolling"])
def test_what_is_forgotten_leaves_no_trace(renew, clips, context) -> None:
    """Not even of a segment that is open: what comes next is as if it came first."""
    session = renew(context=context)
    first = list(session.listen(str(clips["letter"].path)))
    answer, state = session.ask("What was written?"), state_of(session)
    session.feed(clips["garden"].samples, live=True)
    session.forget()
    assert session.clock_s == 0.0
    assert not session.ask("What did she find?").heard
    assert list(session.listen(str(clips["letter"].path))) == first
    assert session.ask("What was written?") == answer
    assert state_of(session) == state


@pytest.mark.parametrize("seed", [1, 2])
def test_blocks_of_any_size_and_kind_give_the_same_text(renew, clips, seed) -> None:
    clip = clips["two_sentences"]
    session = renew()
    expected = texts([*session.feed(clip.samples, live=False), *session.finish()])
    chance = random.Random(seed)
    session = renew()
    events: list[Event] = []
    start = 0
    while start < len(clip.samples):
        size = chance.choice([1, 160, 511, 512, 513, 1600, 4000, 20_000])
        block = clip.samples[start : start + size]
        form = chance.choice(["float", "int16", "bytes", "stereo"])
        whole = np.round(block * 32768).astype("<i2")
        events += session.feed(
            {
                "float": block,
                "int16": whole,
                "bytes": whole.tobytes(),
                "stereo": np.stack([block, block], axis=1),
            }[form],
            live=bool(seed % 2),
        )
        start += size
    events += session.finish()
    check_guarantees(events)
    assert texts(events) == expected


def test_live_sound_gives_partials_that_lead_to_the_text(renew, clips) -> None:
    session = renew(partial_interval_s=0.5)
    partials: list[Partial] = []
    finals: list[Final] = []
    session.on_partial, session.on_final = partials.append, finals.append
    events = [*session.feed(np.concatenate([clips["garden"].samples, SECOND])), *session.finish()]
    check_guarantees(events)
    assert len(partials) >= 3 and len(finals) == 1
    # The draft of the closing pause is the final text: nobody waits for another decode.
    assert partials[-1].text == normalise(finals[0].text)
    assert finals[0].text == "She opened the door and found a small garden full of white flowers."


@pytest.mark.parametrize("context", ["fresh", "rolling"])
def test_a_question_leaves_the_memory_as_it_was(renew, clips, context) -> None:
    session = renew(context=context)
    list(session.listen(FileSource(clips["garden"].path)))
    before = state_of(session)
    first = session.ask("What did she find?")
    assert first.question == "What did she find?" and first.time_s == session.clock_s
    assert state_of(session) == before
    assert session.ask("What did she find?").text == first.text
    assert state_of(session) == before


def test_a_question_does_not_change_what_is_heard_next(renew, clips) -> None:
    def hear(asking: bool) -> list[str]:
        session = renew(context="rolling")
        heard = list(session.listen(FileSource(clips["garden"].path)))
        if asking:
            session.ask("Who was it?")
        return texts([*heard, *session.listen(FileSource(clips["letter"].path))])

    assert hear(asking=True) == hear(asking=False)


@pytest.mark.parametrize("question", ["", "  \n", "why " * 200])
def test_questions_that_cannot_be_asked_are_refused(session: Session, question: str) -> None:
    with pytest.raises(InputError):
        session.ask(question)


def test_asking_before_anything_was_heard_is_no_error(session: Session) -> None:
    assert isinstance(session.ask("What was said?"), Answer)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("kv_share", [1.0, 0.4])
def test_what_was_decoded_alone_is_never_read_again(clips, monkeypatch, kv_share, live) -> None:
    with Session(threads=1, mem="4GB", kv_share=kv_share, report_interval_s=0.0) as session:
        memory, scratch = session.caches.memory, session.caches.scratch

        def read_again(embeddings: np.ndarray) -> None:
            raise RuntimeError("the memory reads the sound once more")

        monkeypatch.setattr(memory, "append_embeddings", read_again)
        sound = np.concatenate([clips["garden"].samples, SECOND, SECOND])
        ends, held = [], []
        for _ in range(2):
            said = texts(session.feed(sound, live=live) + session.finish())
            assert said and clips["garden"].share_heard(said[0]) > 0.4
            ends.append(memory.next_position)
            held.append([memory.context.read_values(la, 0) for la in (0, 29)])
        assert ends[1] == 2 * ends[0] > 100 and scratch.next_position == 0
        # The second hearing's rows are the first's; values do not know where they stand.
        for first, both in zip(*held, strict=True):
            np.testing.assert_array_equal(both[: ends[0]], first)
            if not live:
                np.testing.assert_allclose(both[ends[0] :], first, atol=0.02)
        session.ask("What did she find?")


def test_positions_move_down_without_changing_the_text(renew, clips) -> None:
    names = ["harbour", "garden", "letter", "harbour", "garden"]

    def hear(n_context: int, placement: str) -> tuple[list[str], int]:
        session = renew(context="rolling", placement=placement)
        hearing = session._loaded()
        shifts = session.caches.memory.stats.shifts
        hearing.memory._n_context = n_context
        events = [event for name in names for event in session.listen(FileSource(clips[name].path))]
        assert session.caches.memory.next_position <= n_context
        return texts(events), session.caches.memory.stats.shifts - shifts

    unshifted, none = hear(8192, "log")
    assert none == 0
    for placement in ("drop", "log"):
        shifted, some = hear(956, placement)
        assert some >= 1
        assert shifted == unshifted


# --- threads ----------------------------------------------------------------------------------


def test_another_thread_asks_while_this_one_listens(session: Session, clips) -> None:
    answers: list[Answer] = []
    asked = threading.Event()

    def ask() -> None:
        asked.wait(60)
        answers.extend(session.ask(f"What was said? {n}") for n in range(2))

    thread = threading.Thread(target=ask)
    thread.start()
    events: list[Event] = []
    for event in session.listen(FileSource(clips["two_sentences"].path)):
        events.append(event)
        asked.set()
    thread.join(60)
    check_guarantees(events)
    assert len(answers) == 2 and len(texts(events)) == 2


def test_a_callback_may_ask(session: Session, clips) -> None:
    answers: list[Answer] = []
    session.on_final = lambda final: answers.append(session.ask("What was said?"))
    events = list(session.listen(FileSource(clips["two_sentences"].path)))
    check_guarantees(events)
    assert len(answers) == 2


class Endless(AudioSource):
    """A microphone in a silent room. `heard` says that somebody reads."""

    realtime = True

    def __init__(self) -> None:
        super().__init__()
        self.heard = threading.Event()
        self.is_open = False

    def open(self) -> None:
        self.is_open = True

    def _read(self, max_samples: int) -> np.ndarray:
        self.heard.set()
        return np.zeros(0 if self._delivered_samples > 320_000 else max_samples, np.float32)

    def close(self) -> None:
        self.is_open = False


@pytest.mark.parametrize("reason", ["stopped", "closed"])
def test_another_thread_ends_the_listening(renew: Callable[..., Session], reason: str) -> None:
    session = renew() if reason == "stopped" else Session(threads=1, mem="4GB").load()
    source = Endless()

    def end() -> None:
        source.heard.wait(60)
        session.stop() if reason == "stopped" else session.close()

    thread = threading.Thread(target=end)
    thread.start()
    events = list(session.listen(source))
    thread.join(60)
    assert not source.is_open
    assert isinstance(events[-1], SessionEnded) and events[-1].reason == reason


def test_leaving_the_loop_forgets_the_open_segment_and_closes_the_source(renew, clips) -> None:
    session = renew()
    source = FileSource(clips["garden"].path)
    for event in session.listen(source):
        if isinstance(event, SpeechStarted):
            break
    with pytest.raises(InputError, match="not open"):
        source.read()
    events = list(session.listen(FileSource(clips["harbour"].path)))
    assert clips["harbour"].share_heard(texts(events)[0]) > 0.5
    assert len(texts(events)) == 1 and events[0].id == 1


def test_a_source_that_fails_ends_the_open_segment_first(session: Session, clips) -> None:
    class Failing(FileSource):
        def _read(self, max_samples: int) -> np.ndarray | None:
            if self.clock_s >= 3:
                raise InputError("the line is dead.", cure="Mend it.")
            return super()._read(max_samples)

    events: list[Event] = []
    with pytest.raises(InputError, match="the line is dead"):
        for event in session.listen(Failing(clips["garden"].path)):
            events.append(event)
    check_guarantees(events)
    assert len(texts(events)) == 1 and events[-1].reason == "the line is dead."


def test_without_a_microphone_listening_says_what_to_do(session: Session, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        next(session.listen())
    monkeypatch.setattr("edge_audiokv.audio.live.portaudio.PortAudio.inputs", lambda self: [])
    with pytest.raises(DeviceError, match="Plug one in"):
        next(session.listen())


# --- async ------------------------------------------------------------------------------------


def test_async_listening_gives_the_same_events(renew, clips) -> None:
    path = clips["two_sentences"].path
    expected = list(renew().listen(FileSource(path)))

    async def listen(session: Session) -> list[Event]:
        return [event async for event in session.alisten(FileSource(path))]

    assert asyncio.run(listen(renew())) == expected


def test_async_questions_while_listening(session: Session, clips) -> None:
    async def listen() -> list[Answer]:
        answers = []
        async for event in session.alisten(FileSource(clips["two_sentences"].path)):
            if isinstance(event, Final):
                answers.append(await session.aask("What was said?"))
        return answers

    assert len(asyncio.run(listen())) == 2


def test_cancelling_closes_the_source_and_the_session_goes_on(session: Session, clips) -> None:
    source = Endless()

    async def main() -> None:
        async def listen() -> None:
            async for _event in session.alisten(source):
                pass

        task = asyncio.create_task(listen())
        await asyncio.to_thread(source.heard.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert not source.is_open
    assert texts(list(session.listen(FileSource(clips["harbour"].path))))


# --- life -------------------------------------------------------------------------------------


def test_a_cap_that_is_too_small_is_refused_with_the_one_that_works() -> None:
    session = Session(mem="100MB")
    with pytest.raises(MemoryBudgetError, match=r'Use mem="\d+MB"') as caught:
        session.load()
    session.close()
    session.close()
    assert (caught.value.required_bytes or 0) > 100_000_000


def test_a_failed_load_can_be_closed_and_tried_again() -> None:
    session = Session(model="no-such-model")
    for _ in range(2):
        with pytest.raises(ModelError):
            session.load()
        session.close()


def test_the_clock_and_the_times_outlive_the_session(clips: dict[str, Speech]) -> None:
    with Session(threads=1, mem="4GB") as session:
        session.feed(clips["harbour"].samples, live=False)
        session.finish()
    session.close()
    assert session.clock_s == pytest.approx(len(clips["harbour"].samples) / 16_000)
    assert session.final_watch.audio_s > 0
    assert session.last_report is not None and session.last_report.parts["weights"] > 0
