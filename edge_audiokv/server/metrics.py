"""GET /metrics: numbers in Prometheus' text form. None of them says what was said, or by whom."""

from __future__ import annotations

from collections import Counter

from edge_audiokv.server.engine import Work
from edge_audiokv.server.live.latency import Latencies
from edge_audiokv.server.worker import Worker

_PREFIX = "edge_audiokv_"


class Requests:
    """Counts answers by route and status; routes are ours, so there are few."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()

    def count(self, route: str, status: int) -> None:
        self.answers[route, status] += 1


def metrics(worker: Worker, requests: Requests, latencies: Latencies) -> str:
    """All of it, as it is now, of all sessions together."""
    report = worker.engines[0].report()
    work = sum((engine.work for engine in worker.engines), Work())
    lines: list[str] = []

    def put(name: str, kind: str, about: str, *values: tuple[str, float]) -> None:
        full = _PREFIX + name
        lines.extend((f"# HELP {full} {about}", f"# TYPE {full} {kind}"))
        lines.extend(f"{full}{labels} {_number(value)}" for labels, value in values)

    def gauge(name: str, about: str, value: float) -> None:
        put(name, "gauge", about, ("", value))

    def counter(name: str, about: str, value: float) -> None:
        put(name, "counter", about, ("", value))

    gauge("rss_bytes", "Resident memory of the process.", report.rss_bytes)
    gauge("memory_cap_bytes", "The cap on it.", report.cap_bytes)
    parts = sorted(report.parts.items())
    put(
        "memory_part_bytes",
        "gauge",
        "What each part holds.",
        *((f'{{part="{_label(name)}"}}', size) for name, size in parts),
    )
    gauge("kv_bytes", "Pools of the KV cache.", report.parts.get("KV pools", 0))
    counter("position_shifts_total", "Times that positions were moved down.", work.shifts)
    counter("evictions_total", "Times that rows were evicted.", work.evictions)
    counter("evicted_rows_total", "Rows that were evicted.", work.evicted_rows)
    counter("evicted_bytes_total", "Bytes that evictions freed.", work.evicted_bytes)
    gauge("sessions", "Sessions that share the cap.", len(worker.engines))
    gauge("sessions_live", "Those that live clients have.", worker.n_live)
    gauge("queue_length", "Jobs that wait.", worker.n_waiting)
    gauge("queue_places", "Jobs that may run or wait at once.", worker.places)
    gauge(
        "queue_places_taken",
        "Those that do, bodies on their way included; all while live clients have all sessions.",
        worker.taken,
    )
    counter(
        "busy_total",
        "Requests that were sent away because all places were taken.",
        worker.busy_total,
    )
    counter("jobs_total", "Jobs that ended.", worker.jobs_total)
    counter("job_seconds_total", "Time that they ran.", worker.job_seconds_total)
    counter("audio_seconds_total", "Sound that was heard.", work.audio_s)
    counter("compute_seconds_total", "Time in encoder and LLM.", work.compute_s)
    counter("text_tokens_total", "Tokens that were written.", work.text_tokens)
    counter("flagged_texts_total", "Texts that a guard cut or had tried again.", work.flagged)
    put(
        "final_latency_seconds",
        "histogram",
        "From the end of speech until its final text was there, by door.",
        *latencies.samples(),
    )
    # Not of the jobs' time: one that listens takes as long as people speak.
    factor = work.compute_s / work.audio_s if work.audio_s else 0.0
    gauge("realtime_factor", "Seconds of computing for a second of sound, over all jobs.", factor)
    gauge("ready", "1 if a job can be done now.", 0 if worker.fault else 1)
    answers = sorted(requests.answers.items())
    put(
        "requests_total",
        "counter",
        "Answers by route and status.",
        *(
            (f'{{route="{_label(route)}",status="{status}"}}', count)
            for (route, status), count in answers
        ),
    )
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else str(round(value, 6))


def _label(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
