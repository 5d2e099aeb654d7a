#!/usr/bin/env python3
"""Compare two builds of the native layer: what does a pass of a few tokens over a long cache cost?

    python scripts/bench_attention.py BEFORE AFTER

BEFORE and AFTER are folders of libraries, as EDGE_AUDIOKV_LIB_DIR names them: say, one built
without a line of patches/series, one with it (cmake --install DIR --component edge_audiokv). Each
count of tokens is read after so many rows of the default model's LLM, on one thread, by the builds
in turn; the first round warms up and is left out. Prints milliseconds of processor time, the least
of all rounds, and the median ratio with its range.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.native.context import HeadwiseContext

N_BATCH, PASSES = 128, 4


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 12, 40, 128])
    parser.add_argument("--rows", type=int, nargs="+", default=[128, 1024, 4096, 8000])
    parser.add_argument("--row-type", choices=["f16", "q8_0"], default="f16")
    parser.add_argument("--model", default="smollm2-audio")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(given.tokens, given.rows, given.row_type, given.model)))
        return
    found: dict[Path, list[dict[str, float]]] = {given.before: [], given.after: []}
    for number in range(given.rounds + 1):
        # The order changes, so that neither is always the one that finds the caches warm.
        for folder in [given.before, given.after] if number % 2 else [given.after, given.before]:
            found[folder].append(in_child(folder))
            print(f"round {number}: {folder}", file=sys.stderr)
    print("tokens  rows   before ms  after ms  before/after [range]")
    for rows in given.rows:
        for tokens in given.tokens:
            sides = [[ms[f"{tokens}/{rows}"] for ms in found[x][1:]] for x in found]
            ratios = [b / a for b, a in zip(*sides, strict=True)]
            print(
                f"{tokens:<7} {rows:<6} {min(sides[0]):<10.1f} {min(sides[1]):<9.1f}"
                f" {statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
            )


def in_child(folder: Path) -> dict[str, float]:
    """What this command measures with the libraries in `folder`."""
    environment = {**os.environ, "EDGE_AUDIOKV_LIB_DIR": str(folder.resolve())}
    command = [sys.executable, __file__, *sys.argv[1:], "--child"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(counts: list[int], rows: list[int], row_type: str, model: str) -> dict[str, float]:
    """Milliseconds by "tokens/rows"."""
    draw, found = np.random.default_rng(0), {}
    most = max(rows) + max(counts)
    with Runtime(EngineSettings(model=model, mem="4GB", threads=1)) as runtime:
        vocabulary = min(1000, runtime.model.n_vocab)
        with HeadwiseContext(
            runtime.model, most, type_k=row_type, type_v=row_type, n_batch=N_BATCH, n_threads=1
        ) as context:
            for n_rows in sorted(rows):
                while (missing := n_rows - context.next_position) > 0:
                    part = draw.integers(0, vocabulary, min(N_BATCH, missing))
                    context.decode_tokens(part, logits=False)
                for n_tokens in counts:
                    times = []
                    for _ in range(PASSES):
                        ids = draw.integers(0, vocabulary, n_tokens)
                        started = time.process_time()
                        context.decode_tokens(ids, logits=False)
                        times.append(time.process_time() - started)
                        context.truncate(n_rows)
                    found[f"{n_tokens}/{n_rows}"] = 1000 * min(times)
    return found


if __name__ == "__main__":
    main()
