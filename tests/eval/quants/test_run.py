"""A run goes on where it was broken off, measures nothing twice, and mixes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edge_audiokv.errors import ModelError, OutputError
from edge_audiokv.eval.quants.files import Quants
from edge_audiokv.eval.quants.grid import BASE_CELL
from edge_audiokv.eval.quants.measure import Job
from edge_audiokv.eval.quants.rows import failed, read_rows
from edge_audiokv.eval.quants.run import Plan, cells_left, check_rows, estimate, execute

from .made import BOTH, CUT, Q4, clips, pretend, weights

DATA = Path(__file__).resolve().parents[2] / "data"
SETTINGS = {"model": "toy", "mem": "2GB", "word_weight": None, "threads": 1, "provider": "cpu"}
CELLS = (BASE_CELL, Q4, CUT, BOTH)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    said = [replace(clip, path=tmp_path / clip.path) for clip in clips(3)]
    for clip in said:
        clip.path.write_text(clip.id)
    local = SimpleNamespace(
        entry=SimpleNamespace(name="toy"), model_hash="m", encoder_path=said[0].path,
        encoder_paths=(said[0].path,), gguf=SimpleNamespace(quantisation="q4_1"),
    )  # fmt: skip
    quants = Quants(cast(Any, local), tmp_path)
    return Plan(quants, CELLS, tuple(said), dict(SETTINGS), tmp_path / "run.jsonl")


def test_a_run_measures_every_cell_once_the_base_first(plan: Plan) -> None:
    seen: list[str] = []
    files = weights(plan.output.parent, "Q4_0")
    rows = execute(plan, files, measure=pretend(seen, Q4_0=0.5))
    assert seen == ["base 1 base", "Q4_0 1", "base 0.4", "Q4_0 0.4"]
    assert [row["kld_mean"] for row in rows] == [0.0, 0.5, 0.0, 0.5]
    assert not plan.base_folder.exists(), "nothing is left of what only the run needs"
    assert execute(plan, files, measure=pretend(seen)) == rows and len(seen) == 4


@pytest.mark.parametrize("n_done", [0, 1, 2, 3])
def test_what_is_done_is_not_done_again_after_a_kill(plan: Plan, n_done: int) -> None:
    files, seen = weights(plan.output.parent, "Q4_0"), list[str]()
    whole = pretend(seen)

    def killed(job: Job, on_clip: Callable[[int], None]) -> dict[str, Any]:
        if len(seen) == n_done:
            raise KeyboardInterrupt
        return cast(dict[str, Any], whole(job, on_clip))

    with pytest.raises(KeyboardInterrupt):
        execute(plan, files, measure=killed)
    done = read_rows(plan.output) if n_done else []
    assert plan.output.exists() is (n_done > 0)
    assert len(done) == n_done == len(CELLS) - len(cells_left(plan, done))
    with plan.output.open("ab") as stream:  # as a kill in the middle of a row leaves it
        stream.write(b'{"schema": 1, "run": "')
    rows = execute(plan, files, measure=whole)
    assert rows[:n_done] == done and len(rows) == len(seen) == 4


def test_a_crash_costs_its_cell_and_is_tried_again(plan: Plan) -> None:
    files, seen = weights(plan.output.parent, "Q4_0"), list[str]()
    good = pretend(seen)

    def fragile(job: Job, on_clip: Callable[[int], None]) -> dict[str, Any]:
        if Path(job.gguf).stem == "Q4_0" and job.settings["kv_share"] == 1:
            raise ModelError("it ended with code -11.")
        return cast(dict[str, Any], good(job, on_clip))

    rows = execute(plan, files, measure=fragile)
    assert failed(rows) == {Q4: "it ended with code -11."} and len(seen) == 3
    assert plan.base_folder.exists(), "it is needed to try again"
    rows = execute(plan, files, measure=good)
    assert not failed(rows) and seen[3:] == ["Q4_0 1"]


def test_without_a_base_nothing_is_measured(plan: Plan) -> None:
    def broken(job: Job, on_clip: Callable[[int], None]) -> dict[str, Any]:
        raise ModelError("no.")

    with pytest.raises(ModelError):
        execute(plan, weights(plan.output.parent, "Q4_0"), measure=broken)
    assert not plan.output.exists()


def test_more_cells_are_added_to_a_run_that_is_done(plan: Plan) -> None:
    files, seen = weights(plan.output.parent, "Q4_0"), list[str]()
    first = execute(replace(plan, cells=CELLS[:2]), files, measure=pretend(seen))
    rows = execute(plan, files, measure=pretend(seen))
    # What the base chose was removed: it is measured again, and has no second row.
    assert rows[:2] == first and len(rows) == 4
    assert seen[2:] == ["base 1 base", "base 0.4", "Q4_0 0.4"]


def test_rows_of_other_data_or_settings_are_not_gone_on_with(plan: Plan) -> None:
    execute(plan, weights(plan.output.parent, "Q4_0"), measure=pretend([]))
    before = plan.output.read_bytes()
    other = replace(plan, settings={**plan.settings, "word_weight": 0.0})
    with pytest.raises(OutputError, match="other settings or data: word_weight"):
        check_rows(other)
    matrix = replace(plan.quants, imatrix=plan.clips[1].path)
    with pytest.raises(OutputError, match="imatrix_sha256"):
        check_rows(replace(plan, quants=matrix))
    plan.clips[0].path.write_text("another sound")
    fresh = replace(plan)
    with pytest.raises(OutputError, match="data_sha256"):
        execute(fresh, weights(plan.output.parent, "Q4_0"), measure=pretend([]))
    assert plan.output.read_bytes() == before


def test_a_base_that_writes_something_else_is_not_gone_on_with(plan: Plan) -> None:
    files = weights(plan.output.parent, "Q4_0")
    execute(replace(plan, cells=CELLS[:2]), files, measure=pretend([]))

    def other(job: Job, on_clip: Callable[[int], None]) -> dict[str, Any]:
        told = cast(dict[str, Any], pretend([])(job, on_clip))
        told["clips"][0]["text"] = "something else"
        return told

    with pytest.raises(OutputError, match="does not write what it wrote"):
        execute(plan, files, measure=other)
    assert len(read_rows(plan.output)) == 2


def test_before_anything_was_timed_one_clip_is(plan: Plan) -> None:
    clip = DATA / "letter.flac"  # of 3.7 s
    said = tuple(replace(each, path=clip) for each in plan.clips)
    plan.quants.local.llm_paths = (clip, None)  # type: ignore[misc]
    seen: list[str] = []

    def slow(job: Job, on_clip: Callable[[int], None]) -> dict[str, Any]:
        seen.append(job.gguf)
        assert len(job.clips) == 1 and job.is_base
        return {"timings": {"load_s": 2.0, "took_s": 5.0}}

    guess = estimate(replace(plan, clips=said), [], measure=slow)
    assert not guess.from_rows and seen == [str(clip)]
    assert guess.hours == pytest.approx(4 * (2 + 3 * 3) / 3600)
    assert not plan.output.exists() and not plan.base_folder.exists()


def test_what_is_left_is_estimated_from_what_was_timed(plan: Plan) -> None:
    files = weights(plan.output.parent, "Q4_0")
    rows = execute(replace(plan, cells=CELLS[:2]), files, measure=pretend([]))
    guess = estimate(plan, rows, measure=pretend([]))
    assert guess.from_rows and guess.hours == pytest.approx(2 * 1.5 / 3600)
