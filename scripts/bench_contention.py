#!/usr/bin/env python3
"""Realtime factor of the whole path (detection, encoder, LLM, memory), alone and beside a process
that keeps every core busy.

Example: scripts/bench_contention.py --manifest dev/manifest.jsonl --limit 12 --threads 1 2
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np

from edge_audiokv.audio.file import read_all
from edge_audiokv.engine.session import Session, SessionSettings
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.eval.wer import read_manifest


def spin() -> None:
    while True:
        pass


def realtime_factor(session: Session, clips: list[Path]) -> tuple[float, float]:
    """Wall and CPU seconds a second of sound, speech without pauses but for 0.8 s between clips."""
    heard_s = wall_s = cpu_s = 0.0
    for path in clips:
        sound = np.concatenate([read_all(path), np.zeros(12800, np.float32)])
        started, cpu_started = time.perf_counter(), time.process_time()
        session.feed(sound, live=False)
        wall_s += time.perf_counter() - started
        cpu_s += time.process_time() - cpu_started
        heard_s += len(sound) / 16000
    return wall_s / heard_s, cpu_s / heard_s


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--manifest", type=Path, default=Path("tests/data/manifest.jsonl"))
    parser.add_argument("--limit", type=int, default=12, help="clips to hear each time")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--mem", default="1GB")
    options = parser.parse_args()
    clips = [clip.path for clip in read_manifest(options.manifest, limit=options.limit)]
    n_cores = len(os.sched_getaffinity(0))
    print("| threads | load before | alone | CPU s/s | all cores busy | grows |")
    print("|---|---|---|---|---|---|", flush=True)
    for n_threads in options.threads:
        engine = EngineSettings(mem=options.mem, threads=n_threads)
        with Session(engine, SessionSettings(report_interval_s=0)) as session:
            realtime_factor(session, clips[:1])
            load = os.getloadavg()[0]
            alone, cpu = realtime_factor(session, clips)
            busy = [multiprocessing.Process(target=spin, daemon=True) for _ in range(n_cores)]
            for process in busy:
                process.start()
            try:
                beside, _ = realtime_factor(session, clips)
            finally:
                for process in busy:
                    process.kill()
                    process.join()
        print(
            f"| {n_threads} | {load:.1f} | {alone:.3f} | {cpu:.3f} | {beside:.3f} "
            f"| {beside / alone:.2f}x |",
            flush=True,
        )


if __name__ == "__main__":
    main()
