"""Runs without a model: what a child would have found, made up from numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_audiokv.eval.quants.divergence import keep, save
from edge_audiokv.eval.quants.files import Weights
from edge_audiokv.eval.quants.grid import BASE, FULL, Cell
from edge_audiokv.eval.quants.measure import Job
from edge_audiokv.eval.quants.rows import Row, compared, score
from edge_audiokv.eval.quants.statistics import block_kind
from edge_audiokv.eval.wer import Utterance

TEXT = "red green blue grey pink white black brown gold teal"
Q4 = Cell("Q4_0", "f16", "f16", FULL, 1.0)
CUT = Cell(BASE, "f16", "f16", "snapkv", 0.4)
BOTH = replace(CUT, weights="Q4_0")
BYTES = {BASE: 4_000_000, "Q8_0": 2_000_000, "Q4_0": 1_000_000}


def clips(n: int = 10) -> list[Utterance]:
    return [Utterance(f"c{i}", Path(f"c{i}.flac"), TEXT, "ann", "") for i in range(n)]


def found(n: int = 10, *, nats: float = 0.0, wrong: int = 0, took_s: float = 1.0) -> dict[str, Any]:
    """`wrong` words of every second clip are others."""
    words = TEXT.split()
    heard = [" ".join(["low"] * wrong + words[wrong:]) if i % 2 else TEXT for i in range(n)]
    clip = {"flags": [], "audio_s": 4.0, "left_out": 1e-6, "kept_rows": 40, "full_rows": 100}
    return {
        "clips": [
            {**clip, "text": text, "nats": [nats] * 12, "same_top": 11, "kv_bytes": 1000}
            for text in heard
        ],
        "pool_bytes": 5000,
        "timings": {
            "load_s": 1.0, "tokens_per_s": 20.0, "realtime_factor": 0.2,
            "peak_rss_bytes": 10**8, "took_s": took_s,
        },
    }  # fmt: skip


def row(cell: Cell, base: Row | None = None, **numbers: Any) -> Row:
    """A whole row of `cell`, beside `base` (None: itself)."""
    n = numbers.get("n", 10)
    said = clips(n)
    made: Row = {
        "schema": 1,
        "run": "0" * 16,
        "model": "toy",
        "came_in": "Q4_1",
        "weights": cell.weights,
        "model_type": "F16" if cell.weights == BASE else cell.weights,
        "model_bytes": BYTES[cell.weights],
        "tensors": {},
        "type_k": cell.type_k,
        "type_v": cell.type_v,
        "policy": cell.policy,
        "share": cell.share,
        **score(said, block_kind(said), found(**numbers)),
    }
    return made | compared(made, base or made)


def weights(folder: Path, *names: str) -> dict[str, Weights]:
    return {
        name: Weights(name, name, folder / f"{name}.gguf", BYTES[name], name, {"F32": 1}, False)
        for name in (BASE, *names)
    }


def pretend(seen: list[str], **nats: float) -> Callable[[Job, Callable[[int], None]], Any]:
    """A measure that takes no model; `nats` by the stem of the GGUF. Notes what it measured."""

    def measure(job: Job, on_clip: Callable[[int], None]) -> dict[str, Any]:
        name = Path(job.gguf).stem
        seen.append(f"{name} {job.settings['kv_share']:g}{' base' if job.is_base else ''}")
        if job.is_base:
            for index in range(len(job.clips)):
                save(keep([], []), Path(job.base, f"{index}.npz"))
        on_clip(len(job.clips))
        return found(len(job.clips), nats=nats.get(name, 0.0), took_s=float(len(seen)))

    return measure
