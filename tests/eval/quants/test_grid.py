"""Which cells a command line asks for, and everything that is wrong with one at once."""

from __future__ import annotations

from edge_audiokv.eval.quants.grid import BASE_CELL, Cell, read_grid
from edge_audiokv.eval.quants.limits import read_limits


def cells(*lists: str) -> list[Cell]:
    faults: list[str] = []
    grid = read_grid(*lists, faults)  # type: ignore[call-arg]
    assert grid is not None and not faults
    return grid.cells()


def test_every_cell_is_there_once_and_the_base_first() -> None:
    found = cells("q8_0,base,Q8_0", "f16, q4_0", "snapkv,keep-all,random", "0.4,100%")
    assert found[0] == BASE_CELL
    assert len(found) == len(set(found)) == 2 * 2 * 3
    assert {cell.policy for cell in found if cell.share >= 1} == {"keep-all"}
    assert {cell.policy for cell in found if cell.share < 1} == {"snapkv", "random"}


def test_the_base_cell_is_measured_whatever_is_asked_for() -> None:
    assert cells("Q4_0", "q8_0/q4_0", "snapkv window=16", "40%") == [
        BASE_CELL,
        Cell("Q4_0", "q8_0", "q4_0", "snapkv window=16", 0.4),
    ]


def test_parts_have_one_change_each() -> None:
    whole = Cell("Q4_0", "q8_0", "q8_0", "snapkv", 0.4)
    assert whole.n_changes == len(whole.parts()) == 3
    assert [part.n_changes for part in whole.parts()] == [1, 1, 1]
    assert BASE_CELL.parts() == [] and BASE_CELL.n_changes == 0
    assert Cell("Q4_0", "f16", "f16", "keep-all", 1.0).n_changes == 1


def test_all_that_is_wrong_is_told() -> None:
    faults: list[str] = []
    assert read_grid("Q9,Q4_0,Q7", "f17", "snapkv,nope", "40%,140%", faults) is None
    assert [fault.split(":")[0] for fault in faults] == [
        "--types", "--types", "--kv-types", "--policies", "--budgets",
    ]  # fmt: skip
    faults.clear()
    assert read_grid("", "f16", " , ", "40%", faults) is None
    assert faults == ["--types names none", "--policies names none"]


def test_limits_are_names_with_numbers() -> None:
    faults: list[str] = []
    (limit,) = read_limits(["wer=+1.0"], faults)
    assert (limit.name, limit.most, faults) == ("wer", 1.0, [])
    wrong = ["wer", "wer=", "mer=1", "wer=nan", "kld=inf", "=1"]
    assert read_limits(wrong, faults) == [] and len(faults) == len(wrong)
