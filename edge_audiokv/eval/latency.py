"""How long after the end of speech does the text come, and what share of time is computed?

Sound is fed in blocks of 100 ms on a simulated clock: a block is worked on when it has arrived and
the work before is done, and the work takes the time that it really took. So an hour of talk is
measured in minutes, and a machine that is too slow shows its queue. With one thread, the process's
own CPU time may stand for the wall clock: what it would be if nobody else used the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from edge_audiokv.audio.source import SAMPLE_RATE_HZ
from edge_audiokv.engine.session import Session
from edge_audiokv.events import Event, Final, Partial
from edge_audiokv.kv.shape import FloatArray

_BLOCK_SAMPLES = SAMPLE_RATE_HZ // 10


@dataclass
class LatencyReport:
    """Latencies are seconds from the last voiced sound to the final text; a text for each clip."""

    latencies_s: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    audio_s: float = 0.0
    busy_s: float = 0.0
    longest_queue_s: float = 0.0
    partials: int = 0

    @property
    def realtime_factor(self) -> float:
        """Busy seconds a second of sound, silence between the utterances included."""
        return self.busy_s / self.audio_s if self.audio_s else 0.0

    def quantile_ms(self, share: float) -> float:
        return 1000 * float(np.quantile(self.latencies_s, share)) if self.latencies_s else 0.0

    def to_dict(self) -> dict[str, float]:
        return {
            "segments": len(self.latencies_s),
            "partials": self.partials,
            "audio_s": round(self.audio_s, 1),
            "realtime_factor": round(self.realtime_factor, 4),
            "latency_p50_ms": round(self.quantile_ms(0.5)),
            "latency_p95_ms": round(self.quantile_ms(0.95)),
            "longest_queue_s": round(self.longest_queue_s, 2),
        }


class _SimulatedClock:
    """When the work on each event would have been done."""

    def __init__(self, session: Session, report: LatencyReport, now: Callable[[], float]) -> None:
        self.report = report
        self.now = now
        self.suffix_s = session.settings.endpoint.suffix_padding_ms / 1000
        self.started = 0.0
        self.begun_s = 0.0
        # What was heard before is not measured, but the session's times count from its beginning.
        self.before_s = session.clock_s
        session.on_event = self.see

    def see(self, event: Event) -> None:
        now_s = self.begun_s + self.now() - self.started
        if isinstance(event, Final):
            self.report.latencies_s.append(now_s - (event.end_s - self.before_s - self.suffix_s))
            self.report.texts[-1] = f"{self.report.texts[-1]} {event.text}".strip()
        elif isinstance(event, Partial):
            self.report.partials += 1


def measure_latency(
    session: Session,
    clips: Iterable[FloatArray],
    *,
    gap_s: float = 1.2,
    now: Callable[[], float] = time.perf_counter,
) -> LatencyReport:
    """Feed `clips` (float32 [S], 16 kHz) with pauses of `gap_s`, as a microphone would.

    The session may have heard something before.
    """
    report = LatencyReport()
    clock = _SimulatedClock(session, report, now)
    free_s = 0.0
    gap = np.zeros(int(gap_s * SAMPLE_RATE_HZ), np.float32)
    for clip in clips:
        report.texts.append("")
        sound = np.concatenate([clip, gap])
        for start in range(0, len(sound), _BLOCK_SAMPLES):
            block = sound[start : start + _BLOCK_SAMPLES]
            report.audio_s += len(block) / SAMPLE_RATE_HZ
            clock.begun_s = max(report.audio_s, free_s)
            report.longest_queue_s = max(report.longest_queue_s, clock.begun_s - report.audio_s)
            clock.started = now()
            for _event in session.feed(block):
                pass
            worked_s = now() - clock.started
            report.busy_s += worked_s
            free_s = clock.begun_s + worked_s
    return report
