"""Two sessions in a process that holds nothing else: `two_sessions.py CLIP`. Fails by an assert."""

from __future__ import annotations

import sys

import soundfile

from edge_audiokv.engine.session import Session
from edge_audiokv.errors import MemoryBudgetError


def main(clip: str) -> None:
    samples = soundfile.read(clip, dtype="float32")[0]
    with Session(threads=1, mem="700MB", report_interval_s=0.0) as first:
        name = first.runtime.holding.name
        held = sum(first.runtime.ledger.own_parts().values())
        alone = first.memory().parts["interpreter"]
        small = Session(threads=1, mem="700MB", report_interval_s=0.0)
        try:
            small.load()
        except MemoryBudgetError as error:
            assert name in error.what and f"close {name}" in error.cure
        else:
            raise AssertionError("both fit into a cap for one")
        with Session(threads=1, mem="3GB", report_interval_s=0.0) as second:
            parts = second.memory().parts
            # The interpreter is the same one, a little more used.
            assert parts["interpreter"] < 1.5 * alone
            assert abs(parts[name] - (held - alone)) <= 0.02 * (held - alone)
            assert second.runtime.holding.name in first.memory().parts
            report = second.memory()
            assert report.rss_bytes <= sum(report.parts.values()) * 1.05 <= report.cap_bytes
            for session in (second, first):
                session.feed(samples, live=False)
                session.finish()
        assert second.runtime.holding.name not in first.memory().parts


if __name__ == "__main__":
    main(sys.argv[1])
