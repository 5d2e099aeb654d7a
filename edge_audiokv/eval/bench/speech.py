"""The parts that hear, in a session of their own under --mem: encoder, reader, final texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_audiokv.audio.files.file import read_all
from edge_audiokv.audio.source import SAMPLE_RATE_HZ
from edge_audiokv.engine.session import Session
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.eval.bench.alone import Tell
from edge_audiokv.eval.bench.plan import Plan, seconds
from edge_audiokv.eval.bench.rows import Row, timed
from edge_audiokv.eval.bench.statistics import middle
from edge_audiokv.eval.latency import measure_latency
from edge_audiokv.kv.memory import peak_rss_bytes
from edge_audiokv.kv.shape import FloatArray

# Longest window that encoder and reader get.
_WINDOW_S = 20
# Without recordings: what the encoder takes does not depend on what is said.
_NOISE_S = 10


@dataclass(frozen=True)
class Spoken:
    """The rows, and whether the model has a reader that --mem left room for."""

    rows: tuple[Row, ...]
    reads: bool


def n_speech_steps(repetitions: int, paths: Sequence[Path]) -> int:
    """How often `measure_speech` tells that something is done."""
    return repetitions + len(paths)


def measure_speech(
    settings: EngineSettings, paths: Sequence[Path], plan: Plan, tell: Tell
) -> Spoken:
    """Realtime factors of encoder and reader over the first recording, latency over all of them,
    and the peak of this process, which does nothing else. For `alone`.
    """
    clips = [read_all(path) for path in paths]
    with Session(settings) as session:
        runtime = session.runtime
        window = (clips[0] if clips else _noise())[: _WINDOW_S * SAMPLE_RATE_HZ]
        reader = runtime.reader if clips else None
        encode_s: list[float] = []
        read_s: list[float] = []
        for _ in range(plan.repetitions):
            encode_s.append(seconds(lambda: runtime.encoder.hear(window), plan.now))
            if reader is not None:
                read_s.append(seconds(lambda: reader.read(window), plan.now))
            tell("encoder and reader")
        rows = [_paced("encoder", encode_s, window)]
        if read_s:
            rows.append(_paced("reader", read_s, window))
        if clips:
            report = measure_latency(session, _told(clips, tell), now=plan.now)
            rows.append(
                Row(
                    "latency",
                    audio_s=report.audio_s,
                    realtime_factor=report.realtime_factor,
                    segments=len(report.latencies_s),
                    latency_p50_ms=report.quantile_ms(0.5) if report.latencies_s else None,
                    latency_p95_ms=report.quantile_ms(0.95) if report.latencies_s else None,
                )
            )
        rows.append(Row("session", peak_rss_bytes=peak_rss_bytes()))
        return Spoken(tuple(rows), reader is not None)


def _paced(test: str, took_s: Sequence[float], window: FloatArray) -> Row:
    duration_s = len(window) / SAMPLE_RATE_HZ
    factor = middle(took_s).value / duration_s
    return Row(test, audio_s=duration_s, realtime_factor=factor, **timed(took_s))


def _told(clips: Sequence[FloatArray], tell: Tell) -> Iterator[FloatArray]:
    for clip in clips:
        yield clip
        tell("latency")


def _noise() -> FloatArray:
    rng = np.random.default_rng(0)
    return (0.05 * rng.standard_normal(_NOISE_S * SAMPLE_RATE_HZ)).astype(np.float32)
