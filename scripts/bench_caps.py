#!/usr/bin/env python3
"""One session under several caps, each in a process of its own: does the kernel's peak stay below?

Prints a Markdown table. The smallest cap is the one that a refusal names.
Example: scripts/bench_caps.py --manifest tests/data/manifest.jsonl --hours 0.05
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

CAPS = ("smallest", "500MB", "600MB", "1GB", "2GB")


def soak(cap: str, options: argparse.Namespace) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_audiokv", "soak", "--json", "--mem", cap]
    command += ["--manifest", str(options.manifest), "--hours", str(options.hours)]
    command += ["--speech-share", str(options.speech_share), "--threads", str(options.threads)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def smallest(options: argparse.Namespace) -> str:
    refusal = soak("100MB", options).stderr
    found = re.search(r"Use --mem (\d+MB)", refusal)
    if not found:
        sys.exit(f"no refusal at 100MB: {refusal}")
    return found[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--manifest", type=Path, default=Path("tests/data/manifest.jsonl"))
    parser.add_argument("--hours", type=float, default=0.1, help="of sound under each cap")
    parser.add_argument("--speech-share", type=float, default=0.4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("caps", nargs="*", default=CAPS, help=f"default: {' '.join(CAPS)}")
    options = parser.parse_args()
    print("| --mem | peak RSS | ledger off by at most | evictions | rows kept | WER |")
    print("|---|---|---|---|---|---|", flush=True)
    for cap in options.caps:
        cap = smallest(options) if cap == "smallest" else cap
        done = soak(cap, options)
        if done.returncode != 0:
            print(f"| {cap} | {done.stderr.strip()} |", flush=True)
            continue
        report: dict[str, Any] = json.loads(done.stdout)
        rows = max((minute["rows"] for minute in report["minutes"]), default=0)
        print(
            f"| {cap} | {report['peak_rss_bytes'] / 1e6:.1f} MB | {report['ledger_off_share']:.1%} "
            f"| {report['evictions']} | {rows} | {report['wer']:.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
