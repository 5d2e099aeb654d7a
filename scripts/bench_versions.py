"""Compare two checkouts: what does a change cost `transcribe` in time and in memory?

    git worktree add /tmp/before COMMIT
    python scripts/bench_versions.py /tmp/before . talk.flac --rounds 8

Both transcribe the same file with the same model (`--model`: of the second checkout unless given)
and the native library that is installed, in turn, so that a busy machine is as hard on one as on
the other. Prints the ratio of processor time with the range over rounds, and peak resident memory.
The first round warms up and is left out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edge_audiokv.native.library import directory


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--model", type=Path, help="a folder with a model.toml")
    parser.add_argument("options", nargs="*", help="more options of transcribe, after --")
    given = parser.parse_args()
    model = given.model or given.after / "models" / "smollm2-audio"
    rows: dict[str, list[tuple[float, float, float]]] = {"before": [], "after": []}
    for number in range(given.rounds + 1):
        # The order changes, so that neither is always the one that finds the caches warm.
        names = ["before", "after"] if number % 2 else ["after", "before"]
        for name in names:
            rows[name].append(run(getattr(given, name), model, given.file, given.options))
        ratio = rows["after"][-1][0] / rows["before"][-1][0]
        print(f"round {number}: processor time x {ratio:.3f}", file=sys.stderr)
    before, after = rows["before"][1:], rows["after"][1:]
    ratios = [b[0] / a[0] for a, b in zip(before, after, strict=True)]
    walls = [b[1] / a[1] for a, b in zip(before, after, strict=True)]
    low, high = min(ratios), max(ratios)
    rss = [statistics.median(row[2] for row in side) for side in (before, after)]
    print(
        f"processor time x {statistics.median(ratios):.3f} [{low:.3f}, {high:.3f}], "
        f"wall time x {statistics.median(walls):.3f}, "
        f"peak RSS {rss[0]:.1f} -> {rss[1]:.1f} MiB ({rss[1] - rss[0]:+.1f})"
    )


def run(checkout: Path, model: Path, file: Path, options: list[str]) -> tuple[float, float, float]:
    """Processor seconds, wall seconds and peak MiB of one transcription."""
    command = [sys.executable, "-m", "edge_audiokv", "transcribe", str(file.resolve())]
    command += ["-m", str(model.resolve()), "-t", "1", "--mem", "2GB", *options]
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout.resolve()),
        "PYTHONSAFEPATH": "1",
        "EDGE_AUDIOKV_LIB_DIR": str(directory()),
    }
    with tempfile.TemporaryFile() as out:
        begun_s = time.perf_counter()
        child = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall_s = time.perf_counter() - begun_s
        if status:
            out.seek(0)
            sys.exit(f"{checkout} failed:\n{out.read().decode('utf-8', 'replace')}")
    return usage.ru_utime + usage.ru_stime, wall_s, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
