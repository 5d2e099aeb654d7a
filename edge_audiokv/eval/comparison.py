"""The whole comparison of policies: suites of cells, measured by worker processes, resumable.

A cell is (suite, clip, policy, share, question). Each measured cell is one JSON line in
DIRECTORY/<suite>.jsonl, written at once, so that a run may end at any moment and be taken up.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from edge_audiokv.calibrate.clips import Join, plan_joins, read_entries, spoken
from edge_audiokv.calibrate.parts import Parts, load_parts
from edge_audiokv.calibrate.prefilled import Prefilled
from edge_audiokv.errors import EdgeAudioKVError
from edge_audiokv.eval.cells import answer, hear, lose, plain_texts
from edge_audiokv.eval.suites import Cell, Suite
from edge_audiokv.eval.tasks import Task as Question
from edge_audiokv.eval.tasks import make_tasks
from edge_audiokv.kv.policy import Policy, make_policy
from edge_audiokv.kv.profile import HeadProfile, load_profile

Key = tuple[str, str, float, str]  # clip, policy, share, question
# A worker takes so many cells of a clip at a time: each time the clip is read again.
CELLS_A_TASK = 40
QUESTION_TOKENS = 64


@dataclass(frozen=True)
class Inputs:
    """What is compared on what; goes to every worker."""

    model: str
    manifest: Path
    speakers: tuple[str, ...]
    profile: Path | None
    directory: Path


@dataclass(frozen=True)
class Task:
    """Cells of one clip, measured in one go."""

    suite: Suite
    join: Join
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Progress:
    """`left_s` is an estimate from the cells measured so far; None before there are any."""

    suite: str
    clip: str
    done: int
    total: int
    left_s: float | None


def results_path(directory: Path, suite: Suite) -> Path:
    return directory / f"{suite.name}.jsonl"


def read_results(directory: Path, suite: Suite) -> list[dict[str, Any]]:
    """Measured cells of a suite, in the order they were measured; a torn last line is dropped."""
    path = results_path(directory, suite)
    found: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def key_of(row: dict[str, Any]) -> Key:
    return row["clip"], row["policy"], row["share"], row.get("question", "")


def tasks_left(
    suite: Suite, planned: Sequence[tuple[Join, list[str]]], done: set[Key]
) -> Iterator[Task]:
    """What is still to measure, clip by clip; with each clip come its questions ([""]: none)."""
    for index, (join, asked) in enumerate(planned):
        cells = [
            Cell(policy, share, question)
            for question in asked
            for policy, share in suite.grid_of(index)
            if (join.id, policy, share, question) not in done
        ]
        for at in range(0, len(cells), CELLS_A_TASK):
            yield Task(suite, join, tuple(cells[at : at + CELLS_A_TASK]))


def compare(
    inputs: Inputs,
    suites: Sequence[Suite],
    *,
    jobs: int,
    budget_s: float,
    report: Callable[[Progress], None],
) -> bool:
    """Measure what is missing for at most `budget_s`; True if nothing is left.

    Raises PolicyError if the profile is not the model's. A cell that a policy refuses is noted as
    such and not tried again.
    """
    deadline = time.time() + budget_s
    inputs.directory.mkdir(parents=True, exist_ok=True)
    parts = load_parts(inputs.model)
    try:
        profile = _profile(inputs, parts)
        for name in {name for suite in suites for name, _ in suite.grid}:
            variant(name, profile)  # a wrong option is told before anything is measured
        plans = {s: _planned(inputs, parts, s) for s in suites}
    finally:
        parts.close()
    tasks: list[Task] = []
    cost: dict[str, tuple[float, int]] = {}
    total = done_cells = 0
    for suite in suites:
        rows = read_results(inputs.directory, suite)
        done = {key_of(row) for row in rows}
        cost[suite.name] = sum(row.get("took_s", 0.0) for row in rows), len(rows)
        mine = list(tasks_left(suite, plans[suite], done))
        tasks += mine
        left = sum(len(task.cells) for task in mine)
        total, done_cells = total + left + len(done), done_cells + len(done)
    waiting = {id(task): task for task in tasks}
    # Threads of several runtimes that were forked hang; a fresh process is safe.
    with ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_open, initargs=(inputs, deadline)
    ) as pool:
        running = {pool.submit(_measure, task): task for task in tasks}
        for future in as_completed(running):
            task = running[future]
            del waiting[id(task)]
            spent_s, n_cells = future.result()
            seconds, cells = cost[task.suite.name]
            cost[task.suite.name] = seconds + spent_s, cells + n_cells
            done_cells += n_cells
            if n_cells:
                left_s = _left_s(list(waiting.values()), cost, jobs)
                report(Progress(task.suite.name, task.join.id, done_cells, total, left_s))
    return done_cells == total


def _left_s(waiting: Sequence[Task], cost: dict[str, tuple[float, int]], jobs: int) -> float | None:
    known = {name: seconds / cells for name, (seconds, cells) in cost.items() if cells}
    if not known:
        return None
    # A suite without figures is taken to cost what the dearest known one does.
    each = max(known.values())
    return sum(len(t.cells) * known.get(t.suite.name, each) for t in waiting) / jobs


def _planned(inputs: Inputs, parts: Parts, suite: Suite) -> list[tuple[Join, list[str]]]:
    found = plan_joins(
        parts,
        inputs.manifest,
        seconds=suite.seconds,
        limit=suite.clips,
        speakers=inputs.speakers,
    )
    if suite.kind != "recall":
        return [(join, [""]) for join in found]
    return [(join, [q.question for q in _questions(inputs, join)]) for join in found]


def _questions(inputs: Inputs, join: Join) -> list[Question]:
    own = {entry["path"] for entry in join.entries}
    others = [
        word
        for entry in read_entries(inputs.manifest)
        if entry["path"] not in own
        for word in spoken(entry["text"]).split()
    ]
    seed = random.Random(join.id).randrange(1 << 30)
    return make_tasks(plain_texts(join), others, seed=seed)


def _profile(inputs: Inputs, parts: Parts) -> HeadProfile | None:
    path = inputs.profile or parts.local.profile_path
    if path is None:
        return None
    profile = load_profile(path)
    profile.check(parts.model.shape, parts.local.model_hash)
    return profile


# --- in a worker process --------------------------------------------------------------------------


@dataclass
class _Worker:
    inputs: Inputs
    deadline: float
    parts: Parts
    profile: HeadProfile | None


_worker: _Worker | None = None


def _open(inputs: Inputs, deadline: float) -> None:
    global _worker
    parts = load_parts(inputs.model)
    _worker = _Worker(inputs, deadline, parts, _profile(inputs, parts))


def _measure(task: Task) -> tuple[float, int]:
    """(seconds, cells) measured of a task before the deadline."""
    worker = _worker
    if worker is None:
        raise RuntimeError("the worker was not opened")
    if time.time() >= worker.deadline:
        return 0.0, 0
    began = time.time()
    clip = task.join.encode(worker.parts)
    start = None
    if task.suite.kind != "stream":
        start = Prefilled(worker.parts, clip, n_text=QUESTION_TOKENS)
    n_cells, last = 0, ""
    by_text: dict[str, Question] = {}
    if task.suite.kind == "recall":
        by_text = {q.question: q for q in _questions(worker.inputs, task.join)}
    try:
        for cell in task.cells:
            if time.time() >= worker.deadline:
                break
            before = time.time()
            policy = variant(cell.policy, worker.profile)
            row: dict[str, Any] = {"policy": cell.policy, "share": cell.share, "clip": clip.id}
            try:
                if start is not None and task.suite.kind == "recall":
                    if cell.question != last:
                        start.ask(worker.parts.after_ids(cell.question))
                        last = cell.question
                    row = asdict(answer(start, by_text[cell.question], policy, cell.share))
                elif start is not None and task.suite.kind == "words":
                    row = asdict(hear(start, policy, cell.share))
                else:
                    point = lose(task.suite.name, worker.parts, clip, start, policy, cell.share)
                    row = asdict(point)
            except EdgeAudioKVError as error:
                row |= {"question": cell.question, "error": str(error)}
            row["policy"] = cell.policy
            row["took_s"] = round(time.time() - before, 3)
            _append(results_path(worker.inputs.directory, task.suite), row)
            n_cells += 1
    finally:
        if start is not None:
            start.close()
    return time.time() - began, n_cells


def variant(text: str, profile: HeadProfile | None) -> Policy:
    """The policy of "NAME OPTION=VALUE ...". Raises PolicyError for what there is not."""
    name, *options = text.split()
    pairs = (option.partition("=") for option in options)
    return make_policy(name, profile=profile, **{key: value for key, _, value in pairs})


def _append(path: Path, row: dict[str, Any]) -> None:
    """One whole line in one write: several workers append to one file."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, (json.dumps(row) + "\n").encode())
    finally:
        os.close(handle)
