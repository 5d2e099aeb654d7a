#!/usr/bin/env python3
"""Do subtitle files keep the usual rules, and do three parsers read the same in them?

    edge-audiokv transcribe talk.flac -f srt -o talk.srt && scripts/check_subtitles.py talk.srt

Prints the worst line, count of lines, time and reading speed; the exit code is 1 if a rule is
broken or parsers disagree.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge_audiokv.eval.words.subtitles import PARSERS, report_cues
from edge_audiokv.output.cues import CueRules


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="*.srt or *.vtt")
    parser.add_argument("--max-line-chars", type=int, default=CueRules.max_line_chars)
    parser.add_argument("--max-lines", type=int, default=CueRules.max_lines)
    parser.add_argument("--max-cue-s", type=float, default=CueRules.max_cue_s)
    args = parser.parse_args()
    rules = CueRules(args.max_line_chars, args.max_lines, args.max_cue_s)
    bad = False
    for path in args.files:
        # The package `srt` reads SRT alone.
        names = [name for name in PARSERS if name != "srt" or path.suffix == ".srt"]
        read = {name: PARSERS[name](path) for name in names}
        first = read[names[0]]
        report = report_cues(first)
        print(f"{path}: {report}")
        faults = report.faults(rules)
        faults += [f"{name} reads other cues" for name in names if read[name] != first]
        for fault in faults:
            print(f"  {fault}")
        bad = bad or bool(faults)
    sys.exit(bad)


if __name__ == "__main__":
    main()
