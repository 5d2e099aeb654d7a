"""Commands and events between a server and its clients; the model is scripted."""

from __future__ import annotations

import io
import json
import threading
import time

import httpx
import pytest

from edge_audiokv.errors import DeviceError
from edge_audiokv.events import (
    DeviceLost,
    Evicted,
    Final,
    MemoryReport,
    Overflow,
    Partial,
    SessionEnded,
    SpeechStarted,
    Warned,
    from_json,
)
from edge_audiokv.output.jsonl import JsonlWriter
from edge_audiokv.server.events.live import MAX_QUESTIONS, MAX_SAID_CHARS
from edge_audiokv.server.metrics import metrics
from edge_audiokv.server.worker import _FIRST_JOB_S
from tests.server.events.conftest import shut
from tests.server.scripted import FINALS

TEXT = "first words then more"


def test_status_says_how_things_stand(running, caller) -> None:
    told = caller.ask("status")
    assert told["type"] == "reply" and told["state"] == "idle" and told["fault"] == ""
    assert (told["model"], told["cap_bytes"], told["rss_bytes"]) == ("scripted", 1000, 500)
    caller.ask("listen", device="USB")
    told = caller.ask("status")
    assert (told["state"], told["segments"], told["device"]) == ("listening", 0, "a voice")
    assert running.devices == ["USB"]


def test_a_session_from_listen_to_its_end(running, caller, engine) -> None:
    begun = caller.ask("listen")
    assert begun["state"] == "listening" and begun["device"] == "a voice"
    assert engine.begun.wait(10)
    stopped = caller.ask("stop")
    assert stopped["state"] == "idle" and stopped["text"] == TEXT and "cut" not in stopped
    assert caller.kinds == [
        "reply", "speech-started", "partial", "final", "final", "session-ended", "reply"
    ]  # fmt: skip
    assert caller.seen[-2]["reason"] == "stopped" and caller.seen[-2]["segments"] == 2
    assert running.worker.taken == 0 and running.source.closed
    # And once more, on the same connection.
    assert caller.ask("listen")["type"] == "reply" and caller.ask("stop")["text"] == TEXT


def test_events_are_the_lines_that_listen_writes(caller, engine) -> None:
    """Letter for letter, in `listen -f jsonl` with everything."""
    told = [
        SpeechStarted(0, 0.5),
        Partial(0, 0.5, 1.25, "sch\u00f6n", "sch"),
        Final(0, 0.5, 2.0, 'a "final" text', ("loop", "cut")),
        Evicted(2.0, 10, 20, 30),
        MemoryReport(2.0, 100, 50, {"KV pools": 7}),
        Overflow(2.0, 160),
        DeviceLost(2.0, "USB"),
        Warned(2.0, "it is loud."),
        SessionEnded(2.0, 1, "stopped"),
    ]
    sink = io.StringIO()
    writer = JsonlWriter(sink, everything=True)
    writer.facts = engine.facts
    for event in told:
        writer.write(event)
    engine.finals = ()
    caller.ask("listen")
    engine.soon.extend(told)
    caller.until("warned")
    caller.send(id=1, command="stop")
    caller.until("session-ended")
    raw = caller.seen[-len(told) :]
    lines = sink.getvalue().splitlines()
    assert [from_json(line) for line in lines] == told
    assert [json.dumps(line, ensure_ascii=False) for line in raw] == lines


def test_who_hears_of_the_end_may_begin_anew_at_once(running, connect, engine) -> None:
    caller, other = connect(running), connect(running)
    for _ in range(20):
        engine.begun.clear()
        assert caller.ask("listen")["type"] == "reply", caller.seen[-1]
        other.send(id=1, command="stop")
        caller.until("session-ended")


def test_questions_are_answered_from_what_is_being_heard(caller, engine) -> None:
    caller.ask("listen")
    told = caller.ask("ask", question="what is it?")
    assert told["text"] == "a boat on the water" and told["heard"] and told["time_s"] >= 0
    answer = next(line for line in caller.seen if line["type"] == "answer")
    assert answer["question"] == "what is it?" and answer["model"] == "scripted"
    refused = caller.ask("ask", question=" ")
    assert refused["type"] == "error" and refused["exit_code"] == 3 and refused["cure"]
    assert engine.asked == ["what is it?"]


def test_what_has_nothing_to_do_is_refused_with_what_to_do(caller) -> None:
    for command, fields in (("stop", {}), ("ask", {"question": "what?"})):
        told = caller.ask(command, **fields)
        assert told["type"] == "error" and "client listen" in told["cure"]
    caller.ask("listen")
    told = caller.ask("listen")
    assert "already" in told["message"] and "client stop" in told["cure"]


def test_one_key_starts_and_stops(running, connect, engine) -> None:
    for pressed in range(4):
        key = connect(running)
        told = key.ask("toggle")
        key.close()
        assert ("text" in told) == (pressed % 2 == 1), told
        if pressed % 2 == 0:
            assert engine.begun.wait(10)


def test_everybody_hears_and_the_session_outlives_who_began_it(running, connect) -> None:
    first, second = connect(running), connect(running)
    second.ask("status")
    first.ask("listen")
    first.close()
    assert second.until("partial")["text"] == "first"
    second.send(id=7, command="stop")
    assert second.until("reply")["id"] == 7
    late = connect(running)
    assert late.ask("status")["state"] == "idle" and late.kinds == ["reply"]


def test_two_who_stop_at_once(running, connect, engine) -> None:
    """One has the text, the other is told."""
    one, other = connect(running), connect(running)
    one.ask("listen")
    assert engine.begun.wait(10)
    engine.finals = FINALS * 50
    told = []
    threads = [
        threading.Thread(target=lambda who=who: told.append(who.ask("stop")))
        for who in (one, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(line["type"] for line in told) == ["error", "reply"]


def test_who_closes_its_sending_side_still_gets_its_answers(running, connect) -> None:
    """As `printf '{"command": "status"}' | nc -U ...` does, with no line break at the end."""
    one = connect(running, b'{"command": "listen"}\n{"command": "status"}')
    shut(one)
    replies = [line for line in one.rest() if line["type"] == "reply"]
    assert [line["state"] for line in replies] == ["listening", "listening"]
    assert all(line["id"] is None for line in replies)


def test_others_are_told_that_it_listens(running, caller, engine) -> None:
    form = {"files": {"file": b"sound"}, "data": {"model": "whisper-1"}}
    url = f"http://127.0.0.1:{running.http_port}/v1/audio/transcriptions"
    caller.ask("listen")
    assert engine.begun.wait(10)
    answer = httpx.post(url, trust_env=False, timeout=10, **form)
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) > 1
    assert "client stop" in answer.json()["error"]["message"]
    caller.ask("stop")
    deadline = time.monotonic() + 10
    while running.worker.jobs_total < 1:  # counted once its client has been told
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # How long somebody spoke is no measure of how long a request takes.
    assert running.worker._job_s == _FIRST_JOB_S
    answer = httpx.post(url, trust_env=False, timeout=10, **form)
    assert answer.json()["text"] == TEXT
    service = running.service
    text = metrics(running.worker, service.requests, service.latencies)
    assert "edge_audiokv_realtime_factor 0.5\n" in text


def test_what_is_said_while_the_model_is_busy_is_heard_then(running, caller, engine) -> None:
    form = {"files": {"file": b"sound"}, "data": {"model": "whisper-1"}}
    url = f"http://127.0.0.1:{running.http_port}/v1/audio/transcriptions"
    engine.go.clear()
    thread = threading.Thread(target=lambda: httpx.post(url, trust_env=False, timeout=10, **form))
    thread.start()
    assert engine.begun.wait(10)
    caller.ask("listen")
    time.sleep(0.5)
    caller.send(id=1, command="stop")
    time.sleep(0.2)
    engine.go.set()
    assert caller.until("session-ended")["time_s"] > 0.3
    assert caller.until("reply")["text"] == TEXT
    thread.join(10)


def test_a_microphone_that_is_not_there(running, caller) -> None:
    running.source = DeviceError("No microphone is called 'x'.", cure="Choose one of: 0 'y'.")
    told = caller.ask("listen", device="x")
    assert (told["message"], told["exit_code"]) == ("No microphone is called 'x'.", 7)
    assert "0 'y'" in told["cure"] and running.worker.taken == 0
    assert caller.ask("status")["state"] == "idle"


def test_a_session_that_breaks_ends_and_tells_nothing_of_itself(running, caller, engine) -> None:
    engine.crash = True
    caller.send(id=1, command="listen")
    ended = caller.until("session-ended")
    assert "internal" in ended["reason"] and "secret" not in str(caller.seen)
    engine.crash = False
    deadline = time.monotonic() + 10
    while running.worker.taken:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert caller.ask("listen")["type"] == "reply"


def test_questions_that_wait_are_bounded_and_told_when_it_ends(running, connect, engine) -> None:
    form = {"files": {"file": b"sound"}, "data": {"model": "whisper-1"}}
    url = f"http://127.0.0.1:{running.http_port}/v1/audio/transcriptions"
    engine.go.clear()
    thread = threading.Thread(target=lambda: httpx.post(url, trust_env=False, timeout=10, **form))
    thread.start()
    assert engine.begun.wait(10)
    first = connect(running)
    first.ask("listen")
    waiting = [connect(running) for _ in range(MAX_QUESTIONS)]
    for caller in waiting:
        caller.send(id=1, command="ask", question="what?")
    time.sleep(0.3)
    assert "other questions" in first.ask("ask", question="what?")["message"]
    engine.go.set()
    for caller in waiting:
        assert caller.until("reply")["text"] == "a boat on the water"
    thread.join(10)


def test_at_the_end_what_was_said_is_told(running, connect, engine) -> None:
    idle, speaking = connect(running), connect(running)
    speaking.ask("listen")
    assert engine.begun.wait(10)
    running.stop()
    for caller in (idle, speaking):
        told = caller.rest()
        assert [line["type"] for line in told][-3:] == ["final", "final", "session-ended"]
        assert told[-1]["reason"] == "the server stopped"
    running.thread.join(10)
    assert not running.thread.is_alive()


def test_an_end_that_takes_too_long_is_told_as_well(start, connect, engine) -> None:
    running = start(stop_s=0.3)
    engine.go.clear()
    form = {"files": {"file": b"sound"}, "data": {"model": "whisper-1"}}
    url = f"http://127.0.0.1:{running.http_port}/v1/audio/transcriptions"
    thread = threading.Thread(target=lambda: httpx.post(url, trust_env=False, timeout=10, **form))
    thread.start()
    assert engine.begun.wait(10)
    caller = connect(running)
    caller.ask("listen")
    running.stop()
    assert "stopping" in caller.rest()[-1]["reason"]
    engine.go.set()
    thread.join(10)


@pytest.mark.parametrize("n_finals", [10, 1500])
def test_the_text_of_a_long_session_is_its_end(caller, engine, n_finals) -> None:
    texts = [f"sentence {n} is said and has some words more" for n in range(n_finals)]
    engine.finals = tuple(Final(n, n, n + 1.0, text) for n, text in enumerate(texts))
    caller.ask("listen")
    assert engine.begun.wait(10)
    told = caller.ask("stop")
    assert " ".join(texts).endswith(told["text"]) and told["text"].startswith("sentence ")
    assert len(told["text"]) <= MAX_SAID_CHARS
    assert told.get("cut", False) == (n_finals == 1500)
    assert told["text"].startswith("sentence 0 ") == (n_finals == 10)
