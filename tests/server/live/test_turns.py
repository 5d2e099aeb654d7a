"""Turns with the model, when sound came, and the histogram of how late texts are: no model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from edge_audiokv.server.jobs import Job
from edge_audiokv.server.live import turns as turns_module
from edge_audiokv.server.live.arrivals import Arrivals
from edge_audiokv.server.live.latency import BOUNDS_S, Latencies
from edge_audiokv.server.live.turns import Turns


class Clock:
    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(turns_module, "time", made)
    return made


def job(ready: Callable[[], bool] | None = None, behind_s: float = 0.0) -> Job:
    async def make() -> Job:
        return Job(
            lambda *_: iter(()),
            ExitStack(),
            param="",
            max_audio_s=1.0,
            ready=ready,
            behind_s=lambda: behind_s,
        )

    return asyncio.run(make())


def taken(turns: Turns, n: int) -> list[Job | None]:
    found = []
    for _ in range(n):
        found.append(turns.next())
        if found[-1] is not None:
            turns.over(found[-1])
    return found


def test_live_ones_that_have_something_to_do_take_turns(clock) -> None:
    turns, talks = Turns(), [job(lambda: True) for _ in range(3)]
    for talk in talks:
        turns.add(talk)
    found = taken(turns, 9)
    # Each once in any three, whoever begins.
    assert found[:3] == found[3:6] == found[6:] and set(found[:3]) == set(talks)


def test_one_that_floods_keeps_nobody_waiting_longer_than_a_step(clock) -> None:
    has_sound = False
    flood, talk = job(lambda: True), job(lambda: has_sound)
    turns = Turns()
    for each in (flood, talk):
        turns.add(each)
    taken(turns, 2)
    assert taken(turns, 50) == [flood] * 50
    has_sound = True
    assert taken(turns, 2) == [talk, flood]


def test_one_whose_sound_is_late_is_known_to_the_others(clock) -> None:
    late, other, file = job(lambda: True, 0.6), job(lambda: True, 0.2), job()
    turns = Turns()
    for each in (late, other, file):
        turns.add(each)
    assert turns.n_live == 2
    assert turns.others_wait(other) and not turns.others_wait(late)


def test_other_jobs_have_what_time_is_left(clock) -> None:
    has_sound = False
    talk, file = job(lambda: has_sound), job()
    turns = Turns()
    turns.add(file)
    turns.add(talk)
    assert turns.has_other
    assert taken(turns, 4) == [talk, file, file, file]
    has_sound = True
    assert taken(turns, 4) == [talk] * 4
    has_sound = False
    assert turns.next() is file
    turns.remove(file)
    assert turns.next() is None and not turns.has_other


def test_several_have_a_turn_at_once_but_nobody_two(clock) -> None:
    turns, talks, file = Turns(), [job(lambda: True) for _ in range(2)], job()
    for each in (*talks, file):
        turns.add(each)
    first, second = turns.next(), turns.next()
    assert {first, second} == set(talks) == turns.at_work
    # What is not live waits for all that are.
    assert turns.next() is None
    assert first is not None and second is not None
    turns.over(first)
    assert turns.next() is first
    for talk in (first, second):
        turns.over(talk)
        turns.remove(talk)
    assert turns.next() is file and turns.next() is None
    turns.remove(file)
    turns.over(file)
    assert not turns.at_work


def test_who_begins_to_speak_does_not_wait_for_a_file(clock) -> None:
    has_sound = False
    talk, file = job(lambda: has_sound), job()
    turns = Turns()
    for each in (talk, file):
        turns.add(each)
    assert taken(turns, 1) == [talk]
    assert turns.next() is file
    has_sound = True
    assert turns.next() is talk
    assert turns.at_work == {talk, file}


def test_who_is_quiet_is_looked_at_now_and_then(clock) -> None:
    talk = job(lambda: False)
    turns = Turns()
    assert turns.wait_s is None
    turns.add(talk)
    assert turns.wait_s is not None and turns.wait_s < 0.1
    assert taken(turns, 3) == [talk, None, None]
    clock.now_s += 0.11
    assert taken(turns, 2) == [talk, None]
    turns.remove(talk)
    assert turns.next() is None and turns.wait_s is None


def test_sound_is_as_late_as_the_piece_that_brought_it(monkeypatch) -> None:
    clock = Clock()
    monkeypatch.setattr("edge_audiokv.server.live.arrivals.time", clock)
    arrivals = Arrivals()
    assert arrivals.since_s(0.0) is None
    for number in range(1, 1001):
        arrivals.note(number / 10, 50.0 + number / 100)
    assert arrivals.since_s(99.95) == pytest.approx(40.0)
    assert arrivals.since_s(99.85) == pytest.approx(40.01)
    # What is older than any segment is forgotten, what has not come is not known.
    assert arrivals.since_s(1.0) == pytest.approx(100.0 - (50.0 + 6.81))
    assert arrivals.since_s(100.1) is None


def test_buckets_add_up() -> None:
    latencies = Latencies()
    for late_s in (0.05, 0.1, 0.4, 31.0, None):
        latencies.observe("realtime", late_s)
    latencies.observe("wyoming", 0.2)
    told = dict(latencies.samples())
    bounds = [f"{bound:g}" for bound in BOUNDS_S]
    counts = [told[f'_bucket{{door="realtime",le="{bound}"}}'] for bound in [*bounds, "+Inf"]]
    assert counts == sorted(counts) and counts[0] == 2 and counts[-2:] == [3, 4]
    assert told['_bucket{door="realtime",le="0.5"}'] == 3
    assert told['_count{door="realtime"}'] == 4
    assert told['_sum{door="realtime"}'] == pytest.approx(31.55)
    assert told['_count{door="wyoming"}'] == 1 and told['_count{door="events"}'] == 0
