"""The plan of a comparison: what is left, what it costs, and that nothing is measured twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_audiokv.calibrate.clips import Join
from edge_audiokv.errors import PolicyError
from edge_audiokv.eval.comparison import (
    CELLS_A_TASK,
    Inputs,
    Progress,
    compare,
    key_of,
    read_results,
    results_path,
    tasks_left,
    variant,
)
from edge_audiokv.eval.suites import FULL, Cell, Suite, grid, narrowed, suites
from edge_audiokv.kv.policy import policies

DATA = Path(__file__).parents[1] / "data" / "manifest.jsonl"
SUITE = Suite("s", "loss", "S", 0, 3, grid(("a", "b"), (0.6, 0.4)), wide=1, core=(("a", 0.4),))


def join(name: str) -> Join:
    return Join(Path("m.jsonl"), ({"id": name, "path": f"{name}.wav", "text": "x"},))


def cells(tasks: object) -> list[tuple[str, str, float, str]]:
    return [(t.join.id, c.policy, c.share, c.question) for t in tasks for c in t.cells]


def test_clips_beyond_the_wide_ones_run_the_core_and_every_clip_the_full_cache():
    planned = [(join("x"), [""]), (join("y"), [""])]
    assert cells(tasks_left(SUITE, planned, set())) == [
        ("x", FULL, 1.0, ""),
        *(("x", name, share, "") for name in "ab" for share in (0.6, 0.4)),
        ("y", FULL, 1.0, ""),
        ("y", "a", 0.4, ""),
    ]


def test_what_was_measured_is_left_out_and_questions_multiply_the_cells():
    planned = [(join("y"), ["q1", "q2"])]
    suite = Suite("s", "recall", "S", 0, 1, (("a", 0.4),))
    done = {("y", "a", 0.4, "q1"), ("y", FULL, 1.0, "q2")}
    left = cells(tasks_left(suite, planned, done))
    assert left == [("y", FULL, 1.0, "q1"), ("y", "a", 0.4, "q2")]


def test_long_lists_are_cut_into_tasks():
    suite = Suite("s", "loss", "S", 0, 1, grid(tuple(map(str, range(60))), (0.4,)))
    sizes = [len(task.cells) for task in tasks_left(suite, [(join("x"), [""])], set())]
    assert sum(sizes) == 61 and max(sizes) == CELLS_A_TASK


def test_a_torn_last_line_is_measured_again(tmp_path):
    row = {"clip": "x", "policy": "a", "share": 0.4}
    results_path(tmp_path, SUITE).write_text(json.dumps(row) + '\n{"clip": "y", "pol')
    assert read_results(tmp_path, SUITE) == [row]
    assert key_of(row) == ("x", "a", 0.4, "")


def test_every_policy_at_every_share_is_in_the_loss_suite():
    found = {suite.name: suite for suite in suites(tuple(policies()))}
    names = {name for name, _ in found["loss-25s"].grid}
    assert names | {FULL} == set(policies())
    assert {share for _, share in found["loss-25s"].grid} == {0.8, 0.6, 0.4, 0.3, 0.2}
    assert found["loss-25s"].grid_of(0)[0] == (FULL, 1.0)
    small = narrowed(found["words"], names=("snapkv",), shares=(0.4,), clips=2)
    assert small.grid == (("snapkv", 0.4),) and small.core == () and small.clips == 2
    wide = narrowed(SUITE, names=("b",), variants=("snapkv window=8",), shares=(0.4,))
    assert wide.grid == (("snapkv window=8", 0.4), ("b", 0.4))


def test_a_variant_is_a_policy_with_options():
    assert variant("snapkv window=8", None).window == 8
    with pytest.raises(PolicyError, match="no option 'windows'"):
        variant("snapkv windows=8", None)


@pytest.mark.integration
def test_a_comparison_is_taken_up_where_it_stopped(tmp_path):
    inputs = Inputs("smollm2-audio", DATA, (), None, tmp_path)
    suite = Suite("w", "words", "W", 0, 1, (("audiokv-edge", 0.5),))
    seen: list[Progress] = []
    assert not compare(inputs, [suite], jobs=1, budget_s=0.0, report=seen.append)
    assert not seen and read_results(tmp_path, suite) == []
    assert compare(inputs, [suite], jobs=1, budget_s=300.0, report=seen.append)
    rows = read_results(tmp_path, suite)
    assert [(row["policy"], row["share"]) for row in rows] == [(FULL, 1.0), ("audiokv-edge", 0.5)]
    full, cut = rows
    assert cut["kept_rows"] <= 0.5 * full["kept_rows"] and full["words"] > 0
    assert (seen[-1].done, seen[-1].total) == (2, 2)
    assert compare(inputs, [suite], jobs=1, budget_s=300.0, report=seen.append)
    assert read_results(tmp_path, suite) == rows


def test_cells_are_values():
    assert Cell("a", 0.4) == Cell("a", 0.4, "")
