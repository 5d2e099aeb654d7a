"""A run from its plan: files are made, cells measured one after another, a row written for each."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from edge_audiokv import __version__
from edge_audiokv.errors import EdgeAudioKVError, OutputError
from edge_audiokv.eval.quants.files import Quants, Weights
from edge_audiokv.eval.quants.grid import BASE, BASE_CELL, Cell
from edge_audiokv.eval.quants.measure import Job
from edge_audiokv.eval.quants.measure import run as run_job
from edge_audiokv.eval.quants.rows import (
    SCHEMA,
    Row,
    Store,
    base_of,
    compared,
    failed,
    latest,
    read_rows,
    score,
)
from edge_audiokv.eval.quants.statistics import block_kind
from edge_audiokv.eval.wer import Utterance
from edge_audiokv.files import write_whole
from edge_audiokv.models.cache import file_sha256
from edge_audiokv.native.library import describe_library

Measure = Callable[[Job, Callable[[int], None]], dict[str, Any]]


@dataclass(frozen=True)
class Plan:
    """All that is measured. `settings` are fields of EngineSettings that all cells share."""

    quants: Quants
    cells: tuple[Cell, ...]
    clips: tuple[Utterance, ...]
    settings: dict[str, Any]
    output: Path

    @property
    def names(self) -> list[str]:
        """Weights that the cells want, the base first."""
        return list(dict.fromkeys((BASE, *(cell.weights for cell in self.cells))))

    @cached_property
    def block(self) -> str:
        """What intervals draw anew: "speaker", "recording" or "clip"."""
        return block_kind(self.clips)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What every row of the run says of it."""
        data = sha256()
        for clip in self.clips:
            data.update(f"{clip.id}\0{clip.text}\0{file_sha256(clip.path)}\n".encode())
        local, imatrix = self.quants.local, self.quants.imatrix
        # Only where there is one: runs without go on as they were begun.
        more = {} if imatrix is None else {"imatrix_sha256": file_sha256(imatrix)}
        return {
            **more,
            "version": __version__,
            "llama_cpp": describe_library(),
            "model": local.entry.name,
            "model_hash": local.model_hash,
            "came_in": self.quants.came_in,
            "encoder": local.encoder_path.name,
            "encoder_bytes": sum(path.stat().st_size for path in local.encoder_paths),
            "data_sha256": data.hexdigest(),
            "n_threads": self.settings["threads"],
            "provider": self.settings["provider"],
            "word_weight": self.settings["word_weight"],
        }

    @cached_property
    def run_key(self) -> str:
        """16 hex digits of all that makes rows comparable."""
        return sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def base_folder(self) -> Path:
        """What the base wrote and chose, until all is done."""
        return self.output.with_name(f".{self.output.name}.base")

    @property
    def seconds(self) -> float:
        """Of sound, in one cell."""
        return sum(clip_s(clip) for clip in self.clips)


def clip_s(clip: Utterance) -> float:
    """Seconds that the header of a clip claims."""
    from edge_audiokv.audio.files.file import FileSource

    with FileSource(clip.path) as source:
        return source.duration_s


def check_rows(plan: Plan) -> list[Row]:
    """The rows that are there. Raises OutputError if they are of another run."""
    rows = read_rows(plan.output) if plan.output.exists() else []
    for row in rows:
        if row["run"] != plan.run_key:
            names = [name for name, value in plan.facts.items() if row.get(name) != value]
            raise OutputError(
                f"{plan.output} holds a run with other settings or data: {', '.join(names)}.",
                cure="Name another file with -o, or remove it.",
            )
    return rows


def cells_left(plan: Plan, rows: Sequence[Row]) -> list[Cell]:
    """What is still to be measured, weights by weights."""
    done = latest(rows)
    return [cell for cell in plan.cells if cell not in done]


def execute(
    plan: Plan,
    weights: dict[str, Weights],
    *,
    on_clip: Callable[[Cell, int], None] = lambda cell, done: None,
    measure: Measure = run_job,
) -> list[Row]:
    """Measure what is missing and give all rows. A cell that fails is noted and passed over.

    Raises OutputError, or what went wrong with the base, without which nothing can be compared.
    """
    with Store(plan.output) as store:
        rows = check_rows(plan)
        left = cells_left(plan, rows)
        if left:
            base = _base(plan, store, rows, weights, on_clip, measure)
            for cell in left:
                if cell == BASE_CELL:
                    continue
                row = _head(plan, cell, weights[cell.weights])
                try:
                    found = measure(_job(plan, cell, weights), partial(on_clip, cell))
                    row |= score(plan.clips, plan.block, found)
                    row |= compared(row, base)
                except EdgeAudioKVError as error:
                    row["error"] = str(error)
                store.append(row)
        rows = read_rows(plan.output)
        if not failed(rows):
            shutil.rmtree(plan.base_folder, ignore_errors=True)
        return rows


def _base(
    plan: Plan,
    store: Store,
    rows: Sequence[Row],
    weights: dict[str, Weights],
    on_clip: Callable[[Cell, int], None],
    measure: Measure,
) -> Row:
    """The base's row, and its folder filled: both are needed for any other cell."""
    row, folder = base_of(rows), plan.base_folder
    mark = folder / "whole"
    if row is not None and mark.is_file() and mark.read_text(encoding="utf-8") == plan.run_key:
        return row
    # Another run's, or one that was broken off.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    job = _job(plan, BASE_CELL, weights, is_base=True)
    found = measure(job, partial(on_clip, BASE_CELL))
    measured = _head(plan, BASE_CELL, weights[BASE]) | score(plan.clips, plan.block, found)
    measured |= compared(measured, measured)
    if row is None:
        store.append(measured)
    elif _texts(row) != _texts(measured):
        raise OutputError(
            f"The base does not write what it wrote when {plan.output} was begun.",
            cure="Name another file with -o: these rows cannot be gone on with.",
        )
    write_whole(mark, plan.run_key)
    return row or measured


def _texts(row: Row) -> list[str]:
    return [item["text"] for item in row["scores"]]


def _job(plan: Plan, cell: Cell, weights: dict[str, Weights], *, is_base: bool = False) -> Job:
    policy, *options = cell.policy.split()
    pairs = (option.partition("=") for option in options)
    settings = {
        **plan.settings,
        "type_k": cell.type_k,
        "type_v": cell.type_v,
        "kv_policy": policy,
        "kv_options": {name: value for name, _, value in pairs},
        "kv_share": cell.share,
    }
    clips = [str(clip.path) for clip in plan.clips]
    path = str(weights[cell.weights].path)
    return Job(path, settings, clips, str(plan.base_folder), is_base)


def _head(plan: Plan, cell: Cell, weights: Weights) -> Row:
    return {
        "schema": SCHEMA,
        "run": plan.run_key,
        **plan.facts,
        "weights": cell.weights,
        "model_type": weights.type,
        "model_filename": weights.path.name,
        "model_bytes": weights.file_bytes,
        "model_sha256": weights.sha256,
        "tensors": weights.tensors,
        "imatrix": weights.imatrix,
        "type_k": cell.type_k,
        "type_v": cell.type_v,
        "policy": cell.policy,
        "share": cell.share,
    }


@dataclass(frozen=True)
class Estimate:
    """`hours` of measuring alone; `from_rows` tells that cells of this run were timed."""

    hours: float
    from_rows: bool


def estimate(plan: Plan, rows: Sequence[Row], measure: Measure = run_job) -> Estimate:
    """How long what is left will take: as the cells that are done took, or else as one clip takes
    with the LLM that is at hand.
    """
    n_left = len(cells_left(plan, rows))
    done = list(latest(rows).values())
    if done or not n_left:
        took_s = [row["timings"]["took_s"] for row in done]
        return Estimate(n_left * sum(took_s) / max(1, len(took_s)) / 3600, True)
    with tempfile.TemporaryDirectory() as folder:
        clip = plan.clips[0]
        job = Job(
            str(plan.quants.local.llm_paths[0]), dict(plan.settings), [str(clip.path)], folder, True
        )
        times = measure(job, lambda done: None)["timings"]
    sound_s = (times["took_s"] - times["load_s"]) * plan.seconds / max(clip_s(clip), 1e-3)
    return Estimate(n_left * (times["load_s"] + sound_s) / 3600, False)
