#!/usr/bin/env python3
"""Average checkpoints that branched from one ancestor: often better than each on unseen speakers.

Example: scripts/average_checkpoints.py first/llm.pt second/llm.pt -o mean.pt
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge_audiokv.errors import EdgeAudioKVError
from edge_audiokv.train import state
from edge_audiokv.train.average import average


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoints", type=Path, nargs="+", help="checkpoints of the LLM stage")
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    try:
        state.save(options.out, average(options.checkpoints))
    except EdgeAudioKVError as error:
        sys.exit(str(error))
    print(f"{options.out}: mean of {len(options.checkpoints)} checkpoints")


if __name__ == "__main__":
    main()
