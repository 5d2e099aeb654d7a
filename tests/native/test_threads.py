from __future__ import annotations

import psutil
import pytest

from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.native.threads import default_threads

pytestmark = pytest.mark.alone


@pytest.mark.parametrize(
    ("physical", "logical", "allowed", "threads"),
    [
        (2, 4, 4, 2),  # two threads a core
        (16, 32, 32, 4),
        (8, 16, 1, 1),  # bound to one core
        (None, 3, 3, 3),  # a machine that does not tell its cores
        (None, None, 8, 1),
    ],
)
def test_one_rule_of_cores_for_all(
    monkeypatch: pytest.MonkeyPatch,
    physical: int | None,
    logical: int | None,
    allowed: int,
    threads: int,
) -> None:
    monkeypatch.setattr(
        psutil, "cpu_count", lambda logical=True, n=logical: n if logical else physical
    )
    monkeypatch.setattr(
        psutil.Process, "cpu_affinity", lambda self: list(range(allowed)), raising=False
    )
    assert default_threads() == threads
    assert EngineSettings().n_threads == threads
    # Who names a number gets it, but no more than there are cores.
    assert EngineSettings(threads=7).n_threads == min(7, logical or 1, allowed)


def test_a_system_without_affinity_counts_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(psutil.Process, "cpu_affinity", raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 8 if logical else 3)
    assert default_threads() == 3
