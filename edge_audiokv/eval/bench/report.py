"""A run as Markdown for people, and as llama-bench's flat JSON or CSV for machines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields

from edge_audiokv.eval.bench.rows import OURS, STOCK, Facts, Row
from edge_audiokv.eval.bench.statistics import MOST_SPREAD
from edge_audiokv.units import format_bytes

FORMATS = ("md", "json", "csv")
# Above it somebody else was computing before the run began.
MOST_LOAD = 0.5
_SAMPLES = ("samples_ns", "samples_ts")


def write(facts: Facts, rows: Sequence[Row], notes: Sequence[str], format_name: str) -> str:
    """All of a run in one of `FORMATS`; `notes`, what was left out, are for people."""
    if format_name == "json":
        flat = [asdict(facts) | asdict(row) for row in rows]
        return json.dumps(flat, indent=1) + "\n"
    if format_name == "csv":
        return _csv(facts, rows)
    return _markdown(facts, rows, notes)


def warnings(facts: Facts, rows: Sequence[Row]) -> list[str]:
    """Why the figures are not to be relied upon, if so."""
    found = []
    if facts.load_average > MOST_LOAD:
        found.append(f"the load average was {facts.load_average:.1f} before the run began")
    apart = [row for row in rows if (row.spread or 0.0) > MOST_SPREAD]
    if apart:
        worst = max(apart, key=lambda row: row.spread or 0.0)
        found.append(
            f"repetitions of {len(apart)} of {len(rows)} figures differ by more than"
            f" {MOST_SPREAD:.0%} ({_place(worst)}: {worst.spread:.0%})"
        )
    return found


def _csv(facts: Facts, rows: Sequence[Row]) -> str:
    flat = [asdict(facts) | asdict(row) for row in rows]
    every = [*fields(Facts), *fields(Row)]
    names = [field.name for field in every if field.name not in _SAMPLES]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue()


def _markdown(facts: Facts, rows: Sequence[Row], notes: Sequence[str]) -> str:
    reps = min((len(row.samples_ns) for row in rows if row.samples_ns), default=0)
    threads = f"{facts.n_threads} thread{'s' * (facts.n_threads > 1)}"
    head = (
        f"{facts.model_filename} ({facts.model_type}, {format_bytes(facts.model_size)}),"
        f" {threads} of {facts.cpu_info}, {facts.build_commit}; a copy moves"
        f" {facts.bandwidth_bytes_per_s / 1e9:.1f} GB/s, load {facts.load_average:.1f} before."
    )
    tables = [
        _table("Prefill", _PREFILL, _prefill(rows)),
        _table("Decoding", _DECODE, _decode(rows)),
        _table("One compaction", _EVICTION, _eviction(rows)),
        _table("Sound", _SOUND, _sound(rows)),
    ]
    said = (
        f"Medians of {reps} repetition{'s' * (reps != 1)} in turns, with what holds the median with"
        f" 95 %{' (of so few: all of them)' if reps < 6 else ''}. Ratio: ours to stock llama.cpp,"
        " tokens a second, pair by pair. Limit: bandwidth over the bytes of weights and rows that a"
        " token moves; peak RSS: a process with weights and cache alone."
    )
    warned = [f"- Not to be relied upon: {text}." for text in warnings(facts, rows)]
    left_out = [f"- {text}" for text in notes]
    parts = [f"### {facts.model_filename}", head, *filter(None, tables), said]
    if warned or left_out:
        parts.append("\n".join([*warned, *left_out]))
    return "\n\n".join(parts) + "\n"


_PREFILL = ("tokens", "KV", "llama.cpp t/s", "ours t/s", "ratio")
_DECODE = (
    *("after", "KV", "rows kept", "llama.cpp t/s", "ours t/s", "ratio", "bytes/token"),
    *("of the limit", "KV bytes", "peak RSS"),
)
_EVICTION = ("tokens", "KV", "to", "ms", "of the prefill")
_SOUND = ("what", "sound", "realtime factor", "p50", "p95", "peak RSS")


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    if not lines:
        return ""
    rule = f"|{'|'.join(['---:'] * len(columns))}|"
    return "\n".join([f"{title}:", "", f"| {' | '.join(columns)} |", rule, *lines])


def _prefill(rows: Sequence[Row]) -> Iterable[Sequence[str]]:
    for row in _of(rows, "prefill"):
        yield f"{row.n_prompt}", _kv(row), _beside(row), _rate(row), _ratio(row)


def _decode(rows: Sequence[Row]) -> Iterable[Sequence[str]]:
    for row in rows:
        if row.test != "decode":
            continue
        ours = row.implementation == OURS
        yield (
            f"{row.n_depth}",
            _kv(row),
            f"{row.kv_share or 0:.0%}" if ours else STOCK,
            _beside(row) if ours else _rate(row),
            _rate(row) if ours else "",
            _ratio(row) if ours else "",
            format_bytes(row.bytes_per_token or 0),
            f"{row.limit_share or 0:.0%}",
            format_bytes(row.kv_bytes or 0),
            format_bytes(row.peak_rss_bytes or 0),
        )


def _eviction(rows: Sequence[Row]) -> Iterable[Sequence[str]]:
    for row in _of(rows, "eviction"):
        whole = [
            other
            for other in _of(rows, "prefill")
            if (other.n_prompt, _kv(other)) == (row.n_prompt, _kv(row))
        ]
        part = (row.median_ns or 0) / (whole[0].median_ns or 1) if whole else 0.0
        yield (
            f"{row.n_prompt}", _kv(row), f"{row.kv_share or 0:.0%}", _milliseconds(row),
            f"{part:.1%}",
        )  # fmt: skip


def _sound(rows: Sequence[Row]) -> Iterable[Sequence[str]]:
    names = {
        "encoder": "encoder", "reader": "reader", "latency": "final text after the end of speech",
        "session": "the whole session",
    }  # fmt: skip
    for row in rows:
        if row.test not in names:
            continue
        yield (
            names[row.test],
            f"{row.audio_s:.1f} s" if row.audio_s is not None else "",
            f"{row.realtime_factor:.3f}" if row.realtime_factor is not None else "",
            f"{row.latency_p50_ms:.0f} ms" if row.latency_p50_ms is not None else "",
            f"{row.latency_p95_ms:.0f} ms" if row.latency_p95_ms is not None else "",
            format_bytes(row.peak_rss_bytes) if row.peak_rss_bytes is not None else "",
        )


def _of(rows: Sequence[Row], test: str) -> list[Row]:
    return [row for row in rows if (row.test, row.implementation) == (test, OURS)]


def _kv(row: Row) -> str:
    return f"{row.type_k}" if row.type_k == row.type_v else f"{row.type_k}/{row.type_v}"


def _rate(row: Row) -> str:
    return f"{row.median_ts or 0:.1f} [{row.low_ts or 0:.1f}, {row.high_ts or 0:.1f}]"


def _beside(row: Row) -> str:
    return "-" if row.stock_ts is None else f"{row.stock_ts:.1f}"


def _ratio(row: Row) -> str:
    if row.ratio is None:
        return "-"
    return f"{row.ratio:.2f} [{row.ratio_low:.2f}, {row.ratio_high:.2f}]"


def _milliseconds(row: Row) -> str:
    low, value, high = ((item or 0) / 1e6 for item in (row.low_ns, row.median_ns, row.high_ns))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _place(row: Row) -> str:
    where = row.n_prompt or row.n_depth
    kept = f", {row.kv_share:.0%} of the rows" if row.kv_share is not None else ""
    who = "" if row.implementation == OURS else f" of {row.implementation}"
    return f"{row.test}{who}{f' at {where} tokens{kept}' if where else ''}"
