"""Two sessions in one process share the sum of one cap."""

from __future__ import annotations

import pytest

from edge_audiokv.engine.session import Session
from edge_audiokv.errors import MemoryBudgetError

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("local_model")]


def test_the_second_counts_the_first_as_what_it_is(clips) -> None:
    with Session(threads=1, mem="900MB", report_interval_s=0.0) as first:
        name = first.runtime.holding.name
        held = sum(first.runtime.ledger.own_parts().values())
        alone = first.memory().parts["interpreter"]
        small = Session(threads=1, mem="900MB", report_interval_s=0.0)
        with pytest.raises(MemoryBudgetError) as told:
            small.load()
        assert name in told.value.what and f"close {name}" in told.value.cure
        with Session(threads=1, mem="3GB", report_interval_s=0.0) as second:
            parts = second.memory().parts
            # The interpreter is the same one, a little more used.
            assert parts["interpreter"] < 1.5 * alone
            assert parts[name] == pytest.approx(held - alone, rel=0.02)
            assert second.runtime.holding.name in first.memory().parts
            report = second.memory()
            assert report.rss_bytes <= sum(report.parts.values()) * 1.05 <= report.cap_bytes
            for session in (second, first):
                session.feed(clips["harbour"].samples, live=False)
                session.finish()
        assert second.runtime.holding.name not in first.memory().parts
