#!/usr/bin/env python3
"""Train the default model's audio side and LoRA; started again, it goes on where it stopped."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from edge_audiokv.train.config import load_run
from edge_audiokv.train.ctc_stage import train_ctc
from edge_audiokv.train.llm_stage import train_llm
from edge_audiokv.train.smoke import smoke


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, help="TOML file of the run")
    parser.add_argument("--stage", choices=("ctc", "llm", "all"), default="all")
    parser.add_argument("--smoke", action="store_true", help="the whole chain on made-up sound")
    args = parser.parse_args()
    if args.smoke:
        with tempfile.TemporaryDirectory() as folder:
            print(smoke(Path(folder)))
        return
    if args.config is None:
        parser.error("name a run with --config, or try --smoke")
    run = load_run(args.config)
    if args.stage in ("ctc", "all"):
        train_ctc(run)
    if args.stage in ("llm", "all"):
        train_llm(run)


if __name__ == "__main__":
    main()
