#!/usr/bin/env python3
"""Live clients of one server at once: is anything lost, is the cap kept, how late are the texts?

A server is started with so many sessions; one client alone shows what each should get. Then all
come at once, say the same with pauses of their own, and are told its text; who is refused comes
again when it was told to, for --patience seconds. The Realtime protocol takes sound at any pace:
it is sent --speed times as fast as speech, and a text is late by the time since the end of its
speech was sent. Twice the speed is about the load of twice the clients; on a machine that has other
things to do, less than 1 shows what clients cost each other. Other pauses move the cuts by a frame,
so that some words in a thousand are others. Exits with 1 if anything is wrong.

Example: scripts/load_serve.py --clients 8 --sessions 2 --minutes 10 --json load.json
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.eval.served.load import Speech, run_load
from edge_audiokv.eval.served.process import ServerProcess
from edge_audiokv.eval.wer import read_manifest

_MANIFEST = Path(__file__).parents[1] / "tests" / "data" / "manifest.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--manifest", type=Path, default=_MANIFEST, help="JSONL of clips")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--sessions", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=10.0, help="of sound, for each client")
    parser.add_argument("--speed", type=float, default=2.0, help="1 is the pace of speech")
    parser.add_argument(
        "--patience", type=float, default=math.inf, help="seconds that who is refused comes again"
    )
    parser.add_argument("--model", default="smollm2-audio")
    parser.add_argument("--mem", default="800MB")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the figures, too")
    args = parser.parse_args()
    speech = Speech(read_manifest(args.manifest), args.minutes * 60)
    engine = EngineSettings(model=args.model, mem=args.mem, threads=args.threads)
    with ServerProcess(engine, "--sessions", str(args.sessions)) as server:
        report = run_load(
            server,
            speech,
            clients=args.clients,
            sessions=args.sessions,
            speed=args.speed,
            patience_s=args.patience,
            seed=args.seed,
        )
    print("\n".join(report.lines()))
    figures = json.dumps(report.to_dict(), indent=1)
    print(figures)
    if args.json is not None:
        args.json.write_text(figures + "\n", encoding="utf-8")
    if report.faults:
        raise SystemExit(f"wrong: {'; '.join(report.faults)}")


if __name__ == "__main__":
    main()
