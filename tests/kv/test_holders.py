"""Engines of one process count each other."""

from __future__ import annotations

import gc

import pytest

from edge_audiokv.errors import MemoryBudgetError
from edge_audiokv.kv.holders import Holding
from edge_audiokv.kv.memory import INTERPRETER, Ledger, plan_memory


def ledger(owner: str, **parts: int) -> Ledger:
    made = Ledger(1000, Holding(owner))
    for name, size in parts.items():
        made.add(name, lambda size=size: size)
    return made


def test_each_counts_the_others_by_name_until_they_are_released() -> None:
    before = Holding("x").others()
    one = ledger("session", interpreter=100, weights=300, pools=50)
    two = ledger("session", interpreter=100, weights=20)
    one.settle()
    two.settle()
    one.settle()  # again: still one
    try:
        mine = {name: size for name, size in two.parts().items() if name not in before}
        assert mine == {INTERPRETER: 100, "weights": 20, one.holding.name: 350}
        assert one.parts()[two.holding.name] == 20 and one.holding.name not in one.parts()
        assert one.holding.name != two.holding.name
        others = sum(two.holding.others().values())
        assert two.holding.shared_bytes(10_000_000_000) == 10_000_000_000 - others
        # Pools that nobody has touched do not make the interpreter smaller than it was.
        assert two.holding.shared_bytes(120) >= 100
    finally:
        one.holding.release()
        one.holding.release()
    assert one.holding.name not in two.parts()
    two.holding.release()
    assert Holding("x").others() == before


def test_room_that_is_kept_free_counts_and_cannot_be_closed() -> None:
    before = Holding("x").other_engines()
    room, session = Holding("requests", engine=False), ledger("session", pools=5)
    room.settle(7, 0)
    session.settle()
    try:
        assert session.holding.others()["requests"] == 7
        assert session.holding.other_engines() == before
        assert Holding("x").other_engines() == [*before, session.holding.name]
    finally:
        room.release()
        session.holding.release()


def test_one_that_is_forgotten_holds_nothing() -> None:
    before = Holding("x").others()
    forgotten = ledger("session", pools=5)
    forgotten.settle()
    assert len(Holding("x").others()) == len(before) + 1
    del forgotten
    gc.collect()
    assert Holding("x").others() == before


def test_a_refusal_names_who_could_be_closed() -> None:
    with pytest.raises(MemoryBudgetError, match=r"close session 7, or a smaller") as told:
        plan_memory(
            10**9,
            {INTERPRETER: 10**8, "session 7": 8 * 10**8},
            kv_min_bytes=2 * 10**8,
            kv_max_bytes=2 * 10**8,
            others=["session 7"],
        )
    assert "session 7 762.9 MiB" in told.value.what
    assert (told.value.required_bytes or 0) > 10**9
