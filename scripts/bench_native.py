#!/usr/bin/env python
"""Measure the head-wise cache against llama.cpp's own: speed as ratios, memory in bytes.

Keys and values are those of a real text in every context; single steps of all contexts take turns
in one process and are timed in CPU time on one thread, so other load hardly counts.
Build with EDGE_AUDIOKV_BUILD_STOCK=ON to compare with an unpatched library; else the stock cache
inside ours serves. With 8192 rows it takes about five minutes of CPU time.
"""

from __future__ import annotations

import json
import multiprocessing
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from edge_audiokv.kv.shape import IntArray, KVShape
from edge_audiokv.models.catalog import resolve
from edge_audiokv.models.download import ensure
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model
from edge_audiokv.native.stock import StockContext, has_unpatched

CHUNK = 256
SHARES = (1.0, 0.6, 0.4, 0.2)
TEXT = Path(__file__).resolve().parents[1] / "README.md"


def ragged(shape: KVShape, n_rows: int, share: float) -> IntArray:
    """Rows to hold per head: eight sizes around `share`, none above all rows, that mean."""
    rng = np.random.default_rng(0)
    spread = min(0.7, 1 / share - 1)
    factors = 1 + np.linspace(-spread, spread, 8)[np.arange(shape.n_head) % 8]
    rows = rng.permutation(factors / factors.mean()) * share * n_rows
    return np.minimum(rows.round(), n_rows).astype(np.int32).reshape(shape.n_layer, -1)


def subset_state(state: bytes, shape: KVShape, count: IntArray, level: IntArray) -> bytes:
    """The saved state with `count` random rows of each head (llama-headwise-state.cpp's layout)."""
    rng = np.random.default_rng(1)
    head = 8 + 6 * 4 + 4  # llama.cpp's magic and sequence, our header, the last position
    out, rows, at = [state[:head]], [], head
    by_level = {int(lv): int(count.ravel()[level.ravel() == lv].min()) for lv in np.unique(level)}
    for lv in level.ravel():
        (n,) = struct.unpack_from("<i", state, at)
        position = np.frombuffer(state, np.int32, n, at + 4)
        row = np.sort(rng.choice(n, min(n, by_level[int(lv)]), replace=False))
        rows.append((n, row))
        out += [struct.pack("<i", row.size), position[row].tobytes()]
        at += 4 + 4 * n
    for n, row in rows:
        for _ in ("k", "v"):
            size = 2 * shape.head_dim
            data = np.frombuffer(state, np.uint8, n * size, at).reshape(n, size)
            out.append(data[row].tobytes())
            at += n * size
    return b"".join(out)


def cpu_ms(call: Callable[[], object]) -> float:
    """CPU time of this process, all threads, for one call."""
    start = time.process_time()
    call()
    return (time.process_time() - start) * 1e3


def measure_speed(path: Path, n_rows: int, n_steps: int, console: Console) -> list[dict[str, Any]]:
    """Prefill, scored prefill and decode at `n_rows`, stock and head-wise in turns."""
    with Model(path) as model:
        room = n_steps + 2 * CHUNK
        text = np.array(model.tokenize(TEXT.read_text()), np.int32)
        ids = np.resize(text, n_rows + room)
        with (
            StockContext(path, n_rows + room, n_batch=CHUNK) as stock,
            HeadwiseContext(model, n_rows + room, n_threads=1, n_batch=CHUNK) as full,
        ):
            prefill: dict[str, list[float]] = {"stock": [], "ours": []}
            for start in range(0, n_rows, CHUNK):
                part = ids[start : min(start + CHUNK, n_rows)]
                prefill["stock"].append(cpu_ms(lambda p=part: stock.decode(p)))  # type: ignore[misc]
                prefill["ours"].append(cpu_ms(lambda p=part: full.decode_tokens(p)))  # type: ignore[misc]
            console.print(f"prefill of {n_rows} tokens done", style="dim")

            rows: list[dict[str, Any]] = [
                {
                    "what": f"prefill of {n_rows}",
                    "share": 1.0,
                    "stock_ms": sum(prefill["stock"]),
                    "ours_ms": sum(prefill["ours"]),
                }
            ]
            plain, scored = [], []
            part = ids[n_rows : n_rows + CHUNK]
            for _ in range(max(3, n_steps // 8)):
                for score, times in ((False, plain), (True, scored)):
                    full.truncate(n_rows)
                    times.append(cpu_ms(lambda s=score: full.decode_tokens(part, score=s)))  # type: ignore[misc]
            full.truncate(n_rows)
            extra = max(0.0, median(scored) - median(plain))
            rows.append(
                {
                    "what": "scoring, of the prefill",
                    "share": 1.0,
                    "percent": 100 * extra / sum(prefill["ours"]),
                    "percent_of_last_chunk": 100 * extra / median(plain),
                }
            )
            state = full.save_state()
            for share in SHARES:
                rows.append(
                    decode_row(model, stock, full, state, (n_rows, n_steps, share), ids[n_rows:])
                )
                console.print(f"decode at {share:.0%} done", style="dim")
            return rows


def decode_row(
    model: Model,
    stock: StockContext,
    full: HeadwiseContext,
    state: bytes,
    size: tuple[int, int, float],
    ids: IntArray,
) -> dict[str, Any]:
    """Median CPU time of a decode step, stock and head-wise with `share` of the rows in turns."""
    n_rows, n_steps, share = size
    room = n_steps + CHUNK
    shape = model.shape
    if share == 1.0:
        ours = full
    else:
        want = ragged(shape, n_rows, share)
        ours = HeadwiseContext(model, want + room, n_threads=1, n_batch=CHUNK).load()
        ours.load_state(subset_state(state, shape, ours.capacity - room, ours.level))
    held = float(ours.counts.mean())
    stock_ms, ours_ms = [], []
    for step in range(n_steps):
        token = ids[step : step + 1]
        stock_ms.append(cpu_ms(lambda t=token: stock.decode(t)))  # type: ignore[misc]
        ours_ms.append(cpu_ms(lambda t=token: ours.decode_tokens(t)))  # type: ignore[misc]
    stock.truncate(n_rows)
    row = {
        "what": "decode",
        "share": held / n_rows,
        "stock_ms": median(stock_ms),
        "ours_ms": median(ours_ms),
        # CPU time counts waiting for memory that others use: the best step has least of it
        "best_ratio": min(stock_ms) / min(ours_ms),
        "pool_bytes": ours.pool_nbytes,
        "full_bytes": (n_rows + room) * shape.n_head * shape.row_bytes,
    }
    if ours is full:
        ours.truncate(n_rows)
    else:
        ours.close()
    return row


RSS = """
import sys
import numpy as np, psutil
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model
with Model(sys.argv[1]) as model:
    before = psutil.Process().memory_info().rss
    with HeadwiseContext(model, np.load(sys.argv[2]), n_threads=1) as context:
        print(psutil.Process().memory_info().rss - before, context.pool_nbytes)
"""


def measure_bytes(path: Path, n_rows: int, folder: Path) -> list[dict[str, Any]]:
    """Pools as the library counts them, resident memory as the kernel does in fresh processes."""
    out = []
    with Model(path) as model:
        shape = model.shape
    full = n_rows * shape.n_head * shape.row_bytes
    for share in (1.0, 0.4):
        rows = ragged(shape, n_rows, share) + (CHUNK if share < 1 else 0)
        np.save(folder / "capacity.npy", rows)
        command = [sys.executable, "-c", RSS, str(path), str(folder / "capacity.npy")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rss, pools = (int(word) for word in done.stdout.split())
        out.append({"share": share, "full_bytes": full, "pool_bytes": pools, "rss_bytes": rss})
    return out


def _burn() -> None:
    while True:
        pass


def measure_contention(path: Path, n_steps: int) -> list[dict[str, Any]]:
    """Wall time of a decode step alone and beside a busy process, for one thread and for two."""
    out = []
    with Model(path) as model:
        for n_threads in (1, 2):
            with HeadwiseContext(model, 512, n_threads=n_threads) as ours:
                times = []
                for busy in (False, True):
                    other = multiprocessing.get_context("spawn").Process(target=_burn, daemon=True)
                    if busy:
                        other.start()
                        time.sleep(0.5)
                    ours.clear()
                    ours.decode_tokens(np.arange(100, 200))
                    start = time.perf_counter()
                    for step in range(n_steps):
                        ours.decode_tokens([step + 100])
                    times.append((time.perf_counter() - start) / n_steps * 1e3)
                    if busy:
                        other.kill()
                        other.join()
            out.append({"threads": n_threads, "alone_ms": times[0], "beside_busy_ms": times[1]})
    return out


def show(console: Console, report: dict[str, Any]) -> None:
    table = Table(title=f"Speed, one thread, reference: {report['reference']}")
    for column in ("what", "rows held", "stock ms", "ours ms", "speed ratio"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for row in report["speed"]:
        if "percent" in row:
            last = f"{row['percent_of_last_chunk']:.1f} % of the last chunk"
            table.add_row(row["what"], "", "", f"+{row['percent']:.2f} %", last)
        else:
            ratio = row["stock_ms"] / row["ours_ms"]
            cells = (f"{row['share']:.0%}", f"{row['stock_ms']:.1f}", f"{row['ours_ms']:.1f}")
            best = f" (best {row['best_ratio']:.2f}x)" if "best_ratio" in row else ""
            table.add_row(row["what"], *cells, f"{ratio:.2f}x{best}")
    console.print(table)
    table = Table(title=f"Bytes at {report['rows']} rows")
    for column in ("rows kept", "full f16 MiB", "pools MiB", "of full", "resident MiB"):
        table.add_column(column, justify="right")
    for row in report["bytes"]:
        mib = [row[name] / 2**20 for name in ("full_bytes", "pool_bytes", "rss_bytes")]
        of_full = f"{row['pool_bytes'] / row['full_bytes']:.1%}"
        cells = (f"{mib[0]:.1f}", f"{mib[1]:.1f}", of_full, f"{mib[2]:.1f}")
        table.add_row(f"{row['share']:.0%}", *cells)
    console.print(table)
    for row in report.get("contention", []):
        slower = row["beside_busy_ms"] / row["alone_ms"]
        console.print(
            f"{row['threads']} thread(s): {row['alone_ms']:.1f} ms a token alone,"
            f" {row['beside_busy_ms']:.1f} ms beside a busy process ({slower:.2f}x)"
        )


@click.command(help=__doc__)
@click.option("--gguf", type=click.Path(path_type=Path, exists=True), help="Model [the default].")
@click.option("--rows", default=8192, show_default=True, help="Context length, in tokens.")
@click.option("--steps", default=32, show_default=True, help="Decode steps for each row.")
@click.option("--contention", is_flag=True, help="Also decode beside a busy process.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write figures here.")
def main(
    gguf: Path | None, rows: int, steps: int, contention: bool, json_path: Path | None
) -> None:
    import tempfile

    console = Console(stderr=True)
    path = gguf or ensure(resolve()).gguf_path
    with tempfile.TemporaryDirectory() as folder:
        report: dict[str, Any] = {
            "rows": rows,
            "reference": "unpatched llama.cpp" if has_unpatched() else "stock cache, our library",
            "bytes": measure_bytes(path, rows, Path(folder)),
        }
    report["speed"] = measure_speed(path, rows, steps, console)
    if contention:
        report["contention"] = measure_contention(path, steps)
    show(Console(), report)
    if json_path:
        json_path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
