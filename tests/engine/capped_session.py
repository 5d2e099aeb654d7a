"""A whole session under one cap, in a process of its own: `capped_session.py MEM [CGROUP]`.

Prints one JSON object: what the kernel says at the end and what the ledger says.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

if len(sys.argv) > 2:  # before anything is loaded, so that all of it is charged to the group
    (Path(sys.argv[2]) / "cgroup.procs").write_text(str(os.getpid()))

import numpy as np
import soundfile

from edge_audiokv.engine.session import Session, SessionSettings
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.errors import MemoryBudgetError
from edge_audiokv.events import Final
from edge_audiokv.kv.memory import peak_rss_bytes

DATA = Path(__file__).parents[1] / "data"


def main(mem: str) -> dict[str, object]:
    clips = [
        soundfile.read(DATA / f"{name}.flac", dtype="float32")[0]
        for name in ("harbour", "garden", "letter", "two_sentences")
    ]
    session = Session(EngineSettings(mem=mem, threads=1), SessionSettings(context="rolling"))
    try:
        session.load()
    except MemoryBudgetError as error:
        return {"required_bytes": error.required_bytes, "refusal": str(error)}
    pause = np.zeros(16000, np.float32)
    texts = []
    # All at once first: the longest segment that is ever encoded; then turns until rows must go.
    for sound in (np.concatenate(clips), *clips, *clips):
        for event in session.feed(np.concatenate([sound, pause]), live=False):
            if isinstance(event, Final):
                texts.append(event.text)
    answer = session.ask("What was said?").text
    report, stats = session.memory(), session.caches.memory.stats
    result = {
        "texts": texts,
        "answer": answer,
        "cap_bytes": report.cap_bytes,
        "rss_bytes": report.rss_bytes,
        "parts": report.parts,
        "kv_bytes": session.caches.memory.context.pool_nbytes,
        "evictions": stats.evictions,
    }
    session.close()
    return {**result, "peak_rss_bytes": peak_rss_bytes()}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
