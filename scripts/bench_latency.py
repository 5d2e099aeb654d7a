#!/usr/bin/env python3
"""Latency of final text after the end of speech, the realtime factor of the whole path, and the
word error rate of what is written live.

Example: scripts/bench_latency.py --manifest dev/manifest.jsonl --limit 50 --threads 2 --json
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_audiokv.audio.files.file import FileSource
from edge_audiokv.audio.source import SAMPLE_RATE_HZ
from edge_audiokv.engine.session import Session, SessionSettings
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.eval.latency import measure_latency
from edge_audiokv.eval.wer import Hypothesis, Utterance, read_manifest, score_clip
from edge_audiokv.kv.shape import FloatArray


def read(path: Path) -> FloatArray:
    with FileSource(path) as source:
        blocks = []
        while (block := source.read(SAMPLE_RATE_HZ)) is not None:
            blocks.append(block)
    return np.concatenate(blocks)


def fill(session: Session, manifest: Path, seconds: float) -> None:
    """Hear clips, again and again, until `seconds` are over."""
    paths = [manifest.parent / json.loads(line)["path"] for line in manifest.open()]
    heard_s = 0.0
    for path in itertools.cycle(paths):
        if heard_s >= seconds:
            return
        sound = np.concatenate([read(path), np.zeros(SAMPLE_RATE_HZ, np.float32)])
        session.feed(sound, live=False)
        heard_s += len(sound) / SAMPLE_RATE_HZ


def wer(utterances: Sequence[Utterance], texts: Sequence[str]) -> float:
    """Share of words, of clips that end in a pause."""
    scores = [
        score_clip(clip, Hypothesis(text)) for clip, text in zip(utterances, texts, strict=True)
    ]
    return sum(score.edits for score in scores) / max(1, sum(score.words for score in scores))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--manifest", type=Path, default=Path("tests/data/manifest.jsonl"))
    parser.add_argument("--speaker", action="append", default=[], help="only this one; repeatable")
    parser.add_argument("--limit", type=int, default=50, help="clips to hear")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--mem", default="1GB")
    parser.add_argument("--kv-share", type=float, default=1.0, help="as --kv-budget, 0 to 1")
    parser.add_argument("--context", choices=["fresh", "rolling"], default="fresh")
    parser.add_argument("--no-partials", action="store_true")
    parser.add_argument(
        "--after-s",
        type=float,
        default=0.0,
        help="seconds of the clips to hear first, unmeasured: a memory that is full costs more",
    )
    parser.add_argument(
        "--cpu-time", action="store_true", help="count CPU time, for busy machines; one thread"
    )
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args()
    utterances = read_manifest(options.manifest, speakers=options.speaker, limit=options.limit)
    settings = SessionSettings(
        context=options.context, partial_interval_s=0.0 if options.no_partials else 1.0
    )
    threads = 1 if options.cpu_time else options.threads
    now = time.process_time if options.cpu_time else time.perf_counter
    engine = EngineSettings(mem=options.mem, threads=threads, kv_share=options.kv_share)
    with Session(engine, settings) as session:
        fill(session, options.manifest, options.after_s)
        report = measure_latency(session, (read(clip.path) for clip in utterances), now=now)
    facts = {**report.to_dict(), "wer": round(wer(utterances, report.texts), 4)}
    if options.as_json:
        print(json.dumps(facts))
        return
    for name, value in facts.items():
        print(f"{name:<18}{value}")


if __name__ == "__main__":
    main()
