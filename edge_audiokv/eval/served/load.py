"""Live clients of one server at once: is anything lost, is the cap kept, how late are the texts?

Each says the same with pauses of its own, at `speed` times the pace of speech: the protocol takes
it at any pace, and how late a text is counts from when the end of its speech was sent. One client
alone shows what the others should get. Who is refused comes again when it was told to, while its
patience lasts.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.audio.files.file import read_all
from edge_audiokv.audio.source import SAMPLE_RATE_HZ, Samples
from edge_audiokv.audio.vad import FRAME_SAMPLES
from edge_audiokv.errors import InputError
from edge_audiokv.eval.served.client import LiveClient, Refused, Told
from edge_audiokv.eval.served.process import ServerProcess
from edge_audiokv.eval.wer import Hypothesis, Utterance, score_clip

_BLOCK_S = 0.1
# Pauses between two clips. Whole frames of the voice detector: else the same speech would be cut
# otherwise.
_LEAST_GAP_S, _MOST_GAP_S = 1.2, 2.8
_PADDING_S = EndpointConfig().suffix_padding_ms / 1000
_BUSY = 429
_FREE_S = 30.0


@dataclass(frozen=True)
class Talk:
    """What one client was told. `latencies_s` run from the end of speech to its final text, and
    `late_s` is how far behind the pace of `speed` it got.
    """

    began_s: float
    ended_s: float
    text: str
    latencies_s: tuple[float, ...]
    late_s: float


@dataclass
class _Try:
    """What became of one client; no talk if it was never let in."""

    talk: Talk | None = None
    refusals: list[Refused] = field(default_factory=list)


@dataclass(frozen=True)
class Differences:
    """Words that are otherwise than for the client alone."""

    words: int
    substituted: int
    missing: int
    added: int


@dataclass(frozen=True)
class LoadReport:
    """What a load shows; `at_once` is how many were served at the same time."""

    clients: int
    sessions: int
    speed: float
    sound_s: float
    wall_s: float
    served: int
    at_once: int
    finals: int
    same_texts: int
    differences: Differences
    refusals: int
    wrong_refusals: int
    cap_bytes: int
    peak_rss_bytes: int
    alone_p50_ms: float
    alone_p95_ms: float
    p50_ms: float
    p95_ms: float
    late_s: float
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def p95_ratio(self) -> float:
        return self.p95_ms / self.alone_p95_ms if self.alone_p95_ms else 0.0

    @property
    def faults(self) -> list[str]:
        """What must not be."""
        found = []
        if self.at_once != min(self.sessions, self.clients):
            found.append(f"{self.at_once} were served at once")
        if self.wrong_refusals:
            found.append(f"{self.wrong_refusals} refusals do not say when to come again")
        if self.peak_rss_bytes > self.cap_bytes:
            found.append("the cap was not kept")
        if self.differences.missing > 0.01 * self.differences.words:
            found.append(f"{self.differences.missing} words are missing")
        return found

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "p95_ratio": round(self.p95_ratio, 3), "faults": self.faults}

    def lines(self) -> list[str]:
        """For people, one figure a line."""
        differ = self.differences
        peak_mb, cap_mb = self.peak_rss_bytes / 1e6, self.cap_bytes / 1e6
        return [
            f"clients           {self.clients} of {self.sound_s / 60:.1f} min each, "
            f"{self.speed:g} times as fast as speech; {self.sessions} sessions, {self.at_once} at "
            f"once; {self.wall_s / 60:.1f} min in all",
            f"served            {self.served} of {self.clients}, {self.finals} final texts",
            f"refused           {self.refusals} times, {self.wrong_refusals} of them without "
            "saying when to come again",
            f"texts             {self.same_texts} of {self.served} as the client alone; of "
            f"{differ.words} words {differ.substituted} others, {differ.missing} missing, "
            f"{differ.added} more",
            f"peak RSS          {peak_mb:.1f} MB of {cap_mb:.0f} MB",
            f"final text after  p50 {self.p50_ms:.0f} ms, p95 {self.p95_ms:.0f} ms; alone p50 "
            f"{self.alone_p50_ms:.0f} ms, p95 {self.alone_p95_ms:.0f} ms",
            f"p95               {self.p95_ratio:.2f} times that of the client alone",
            f"pace              at most {self.late_s:.1f} s behind",
        ]


class Speech:
    """Clips in order, over and over: about `duration_s` with a pause after each.

    Raises InputError if there are none.
    """

    def __init__(self, utterances: Sequence[Utterance], duration_s: float) -> None:
        if not utterances:
            raise InputError("There is no speech to send.", cure="Give a manifest with clips.")
        self._clips = [_whole_frames(read_all(each.path)) for each in utterances]
        self._n_clips = 0
        gap_s, left_s = (_LEAST_GAP_S + _MOST_GAP_S) / 2, duration_s
        while left_s > 0:
            left_s -= len(self._clip(self._n_clips)) / SAMPLE_RATE_HZ + gap_s
            self._n_clips += 1

    def sound(self, seed: int) -> Samples:
        """Float32 [S] at 16 kHz; `seed` says how long the pauses are."""
        draw = random.Random(seed)
        return np.concatenate(
            [part for at in range(self._n_clips) for part in self._said(at, draw)]
        )

    def _said(self, number: int, draw: random.Random) -> tuple[Samples, Samples]:
        n_gap = int(draw.uniform(_LEAST_GAP_S, _MOST_GAP_S) * SAMPLE_RATE_HZ)
        return self._clip(number), np.zeros(n_gap - n_gap % FRAME_SAMPLES, np.float32)

    def _clip(self, number: int) -> Samples:
        return self._clips[number % len(self._clips)]


def _whole_frames(samples: Samples) -> Samples:
    return np.pad(samples, (0, -len(samples) % FRAME_SAMPLES))


def run_load(
    server: ServerProcess,
    speech: Speech,
    *,
    clients: int,
    sessions: int,
    speed: float,
    patience_s: float = math.inf,
    seed: int = 0,
) -> LoadReport:
    """One client, then `clients` at once; `server` has `sessions`. Who is refused for `patience_s`
    is not served.
    """
    started = time.monotonic()
    sound = speech.sound(seed)
    with closing(LiveClient(server.realtime_url).open()) as client:
        alone = _talk(client, sound, speed)
    _wait_until_free(server)
    lags = random.Random(seed)
    ready = threading.Barrier(clients)

    def come(number: int, lag_s: float) -> _Try:
        sound = speech.sound(seed + number)
        ready.wait()
        tried, give_up_s = _Try(), time.monotonic() + patience_s
        client = _let_in(server, tried, give_up_s)
        if client is not None:
            with closing(client):
                tried.talk = _talk(client, sound, speed, lag_s=lag_s)
        return tried

    # People do not begin at the same moment, and neither do their sentences end together.
    lags_s = [lags.uniform(0, 5 / speed) for _ in range(clients)]
    with ThreadPoolExecutor(clients) as pool:
        tries = list(pool.map(come, range(1, clients + 1), lags_s))
    return _report(server, alone, tries, sound, sessions, speed, time.monotonic() - started)


def _wait_until_free(server: ServerProcess) -> None:
    """A session is free a step after its client has left."""
    give_up_s = time.monotonic() + _FREE_S
    while server.metrics()["sessions_live"] and time.monotonic() < give_up_s:
        time.sleep(0.05)


def _let_in(server: ServerProcess, tried: _Try, give_up_s: float) -> LiveClient | None:
    while True:
        try:
            return LiveClient(server.realtime_url).open()
        except Refused as refusal:
            tried.refusals.append(refusal)
            wait_s = _retry_s(refusal) or 1
            if time.monotonic() + wait_s > give_up_s:
                return None
            time.sleep(wait_s)


def _talk(client: LiveClient, sound: Samples, speed: float, *, lag_s: float = 0.0) -> Talk:
    """Until all is told."""
    began_s = time.monotonic()
    time.sleep(lag_s)
    sent_s, late_s = _send(client, sound, speed)
    client.hear_out()
    text = " ".join(each.text for each in client.told if each.text)
    latencies_s = tuple(_latency_s(each, sent_s) for each in client.told)
    return Talk(began_s, time.monotonic(), text, latencies_s, late_s)


def _send(client: LiveClient, sound: Samples, speed: float) -> tuple[list[float], float]:
    """When each block had been sent, and how late the latest of them was."""
    size = int(_BLOCK_S * SAMPLE_RATE_HZ)
    started, sent_s, late_s = time.monotonic(), [], 0.0
    for number, at in enumerate(range(0, len(sound), size), 1):
        due_s = started + number * _BLOCK_S / speed
        time.sleep(max(0.0, due_s - time.monotonic()))
        client.send(sound[at : at + size])
        sent_s.append(time.monotonic())
        late_s = max(late_s, sent_s[-1] - due_s)
    return sent_s, late_s


def _latency_s(told: Told, sent_s: Sequence[float]) -> float:
    """From when the last of its speech had been sent."""
    block = int((told.end_s - _PADDING_S) / _BLOCK_S)
    return told.at_s - sent_s[min(max(block, 0), len(sent_s) - 1)]


def _retry_s(refusal: Refused) -> int:
    """Whole seconds, 1 or more; 0 if it says nothing of the kind."""
    is_whole = refusal.status == _BUSY and refusal.retry_after.isdecimal()
    return int(refusal.retry_after) if is_whole else 0


def _report(
    server: ServerProcess,
    alone: Talk,
    tries: Sequence[_Try],
    sound: Samples,
    sessions: int,
    speed: float,
    wall_s: float,
) -> LoadReport:
    talks = [each.talk for each in tries if each.talk is not None]
    latencies_s = [each for talk in talks for each in talk.latencies_s]
    refusals = [refusal for each in tries for refusal in each.refusals]
    return LoadReport(
        clients=len(tries),
        sessions=sessions,
        speed=speed,
        sound_s=len(sound) / SAMPLE_RATE_HZ,
        wall_s=round(wall_s, 1),
        served=len(talks),
        at_once=_at_once(talks),
        finals=len(latencies_s),
        same_texts=sum(talk.text == alone.text for talk in talks),
        differences=_differences(alone, talks),
        refusals=len(refusals),
        wrong_refusals=sum(not _retry_s(refusal) for refusal in refusals),
        cap_bytes=server.settings.cap_bytes,
        peak_rss_bytes=server.kernel_bytes()[2],
        alone_p50_ms=_quantile_ms(alone.latencies_s, 0.5),
        alone_p95_ms=_quantile_ms(alone.latencies_s, 0.95),
        p50_ms=_quantile_ms(latencies_s, 0.5),
        p95_ms=_quantile_ms(latencies_s, 0.95),
        late_s=round(max(talk.late_s for talk in (alone, *talks)), 2),
        settings={"model": server.settings.model, "threads": server.settings.n_threads},
    )


def _differences(alone: Talk, talks: Sequence[Talk]) -> Differences:
    meant = Utterance("", Path(), alone.text, "")
    scores = [score_clip(meant, Hypothesis(talk.text)) for talk in talks]
    return Differences(
        sum(score.words for score in scores),
        sum(score.substitutions for score in scores),
        sum(score.deletions for score in scores),
        sum(score.insertions for score in scores),
    )


def _at_once(talks: Sequence[Talk]) -> int:
    """The most that were being served at one moment."""
    steps = sorted([(talk.began_s, 1) for talk in talks] + [(talk.ended_s, -1) for talk in talks])
    running = np.cumsum([step for _, step in steps])
    return int(running.max())


def _quantile_ms(latencies_s: Sequence[float], share: float) -> float:
    return round(1000 * float(np.quantile(latencies_s, share)), 1) if latencies_s else 0.0
