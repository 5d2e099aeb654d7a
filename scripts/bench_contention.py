#!/usr/bin/env python3
"""Realtime factor of the whole path (detection, encoder, LLM, memory), alone and beside a process
that keeps every core busy.

What a session has heard before may change what hearing costs. So every clip is heard alone, busy,
busy, alone: both kinds of run meet the same memory.

Example: scripts/bench_contention.py --manifest dev/manifest.jsonl --limit 8 --threads 1 2
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from edge_audiokv.audio.files.file import read_all
from edge_audiokv.audio.source import SAMPLE_RATE_HZ, Samples
from edge_audiokv.engine.session import Session, SessionSettings
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.eval.wer import read_manifest

# Ends the segment, so that all the work for a clip falls into its own run.
PAUSE = np.zeros(SAMPLE_RATE_HZ * 4 // 5, np.float32)
SETTLE_S = 0.1


def spin() -> None:
    while True:
        pass


class Competitor:
    """One process a core that does nothing but compute; suspended but inside `at_work()`."""

    def __init__(self, n_processes: int) -> None:
        self._processes = [
            multiprocessing.Process(target=spin, daemon=True) for _ in range(n_processes)
        ]

    def __enter__(self) -> Competitor:
        for process in self._processes:
            process.start()
            psutil.Process(process.pid).suspend()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.join()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        handles = [psutil.Process(process.pid) for process in self._processes]
        for handle in handles:
            handle.resume()
        time.sleep(SETTLE_S)
        try:
            yield
        finally:
            for handle in handles:
                handle.suspend()


@dataclass
class Spent:
    """Seconds of sound heard, and what that took."""

    heard_s: float = 0.0
    wall_s: float = 0.0
    cpu_s: float = 0.0


def alternate(
    feed: Callable[[Samples], object],
    sounds: Iterable[Samples],
    at_work: Callable[[], AbstractContextManager[None]],
    *,
    now: Callable[[], float] = time.perf_counter,
) -> tuple[Spent, Spent]:
    """Feed each sound alone, busy, busy, alone: a steady growth of the cost cancels out."""
    alone, busy = Spent(), Spent()
    for sound in sounds:
        for spent in (alone, busy, busy, alone):
            with at_work() if spent is busy else nullcontext():
                started, cpu_started = now(), time.process_time()
                feed(sound)
                spent.wall_s += now() - started
                spent.cpu_s += time.process_time() - cpu_started
            spent.heard_s += len(sound) / SAMPLE_RATE_HZ
    return alone, busy


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--manifest", type=Path, default=Path("tests/data/manifest.jsonl"))
    parser.add_argument("--limit", type=int, default=12, help="clips, each heard four times")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--context", choices=["fresh", "rolling"], default="fresh")
    parser.add_argument("--mem", default="1GB")
    options = parser.parse_args()
    clips = read_manifest(options.manifest, limit=options.limit)
    sounds = [np.concatenate([read_all(clip.path), PAUSE]) for clip in clips]
    settings = SessionSettings(context=options.context, report_interval_s=0)
    print("| threads | load before | alone | CPU s/s | all cores busy | grows |")
    print("|---|---|---|---|---|---|", flush=True)
    # Started first, so that it inherits nothing that the engine sets for its own threads.
    with Competitor(len(os.sched_getaffinity(0))) as competitor:
        for n_threads in options.threads:
            engine = EngineSettings(mem=options.mem, threads=n_threads)
            with Session(engine, settings) as session:

                def feed(sound: Samples, session: Session = session) -> None:
                    session.feed(sound, live=False)

                feed(sounds[0])
                load = os.getloadavg()[0]
                alone, busy = alternate(feed, sounds, competitor.at_work)
            print(
                f"| {n_threads} | {load:.1f} | {alone.wall_s / alone.heard_s:.3f} "
                f"| {alone.cpu_s / alone.heard_s:.3f} | {busy.wall_s / busy.heard_s:.3f} "
                f"| {busy.wall_s / alone.wall_s:.2f}x |",
                flush=True,
            )


if __name__ == "__main__":
    main()
