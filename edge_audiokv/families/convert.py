"""From a checkpoint to a folder that every command takes with -m."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_audiokv.families import checks, export, llm, tekken
from edge_audiokv.families.entry import Written, entry_text
from edge_audiokv.families.growing import check_room, check_target, growing_folder, left_bytes
from edge_audiokv.families.llm import Progress
from edge_audiokv.families.plan import Language, Plan
from edge_audiokv.families.steps import Steps, job_of
from edge_audiokv.families.unread import layer_by_layer, unread
from edge_audiokv.models.catalog import TOML_NAME
from edge_audiokv.models.entry import ModelEntry, read_entry
from edge_audiokv.models.source import Source

Measured = tuple[tuple[float, int], ...]
Measure = Callable[[Path, ModelEntry], Measured]
"""Called with the graph and its entry: seconds of the longest window, and bytes held with it."""

ENCODER, LLM = "encoder.onnx", "llm.{}.gguf"
# Of a checkpoint without tokenizer.json, while its GGUF is made.
TOKENIZER = "tokenizer"
# Room for a question of a person's beside what the prompt has anyway.
_QUESTION_TOKENS, _HOTWORD_TOKENS, _LEAST_TOKENS = 32, 64, 64
_KV_BYTES = 2  # f16
_SPARE_BYTES = 768 << 20
# Of a job, in the name of its unfinished folder.
_KEY_DIGITS = 8
_ENCODER_STEP = "encoder"


@dataclass(frozen=True)
class Estimate:
    """What a conversion will cost, about. `kv_bytes_per_second` is of all rows in f16."""

    family: str
    llm_type: str
    encoder_type: str
    llm_bytes: int
    encoder_bytes: int
    disk_bytes: int
    memory_bytes: int
    kv_bytes_per_second: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dict(vars(self))


@dataclass(frozen=True)
class Converted:
    """What was made. `difference` is the graph's to the reference, in deviations of its rows."""

    folder: Path
    name: str
    family: str
    files: tuple[tuple[str, str, int], ...]
    """Role, name and bytes."""
    difference: float
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        files = [
            dict(zip(("role", "name", "size_bytes"), file, strict=True)) for file in self.files
        ]
        return {**vars(self), "folder": str(self.folder), "files": files, "notes": list(self.notes)}


def estimate(plan: Plan, llm_type: str, encoder_type: str | None) -> Estimate:
    """Sizes before anything is written. Raises InputError for a type that there is not."""
    llm_type = llm.check_type(llm_type)
    encoder_type = export.check_type(encoder_type or export.default_type(plan.tower_count))
    llm_bytes = llm.estimated_bytes(plan.language, llm_type)
    encoder_bytes = export.estimated_bytes(plan.tower_count, encoder_type)
    on_the_way = 0 if llm_type in llm.DIRECT else llm.estimated_bytes(plan.language, "F16")
    config = plan.language.config
    heads = int(config.get("num_key_value_heads") or config["num_attention_heads"])
    size = int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])
    row_bytes = 2 * int(config["num_hidden_layers"]) * heads * size * _KV_BYTES
    largest = max(stored.count for stored in plan.language.checkpoint.tensors.values())
    return Estimate(
        family=plan.family,
        llm_type=llm_type,
        encoder_type=encoder_type,
        llm_bytes=llm_bytes,
        encoder_bytes=encoder_bytes,
        disk_bytes=encoder_bytes + llm_bytes + on_the_way,
        # Measured (scripts/measure_convert.py): the graph is held once when it is run, and the
        # LLM's largest tensor in 32 bits when it is quantised. The rest is Python's, PyTorch's and
        # a window's.
        memory_bytes=max(encoder_bytes, 4 * largest, 8 * _stacked_count(config)) + _SPARE_BYTES,
        kv_bytes_per_second=round(row_bytes * plan.sound.tokens_per_second),
    )


def _stacked_count(config: dict[str, Any]) -> int:
    """Numbers in the matrices of all experts of a layer, which are written as one."""
    experts = int(config.get("num_experts") or 0)
    return experts * int(config.get("moe_intermediate_size") or 0) * int(config["hidden_size"])


def convert(
    plan: Plan,
    folder: Path,
    *,
    llm_type: str = "Q4_K_M",
    encoder_type: str | None = None,
    threads: int = 1,
    progress: Progress = lambda what, done, total: None,
    measure: Measure | None = None,
    source: Source | None = None,
) -> Converted:
    """Make `folder`, whole or not at all; without `encoder_type` the tower's size decides. What
    `measure` finds that the encoder holds is stated in its entry, as is the `source`. What a run of
    the same input and options had done when it was broken off is not done again.

    Raises InputError for an unknown type, ModelError if what was made is not what the checkpoint
    says, OutputError if there is no room or something lies there already.
    """
    expected = estimate(plan, llm_type, encoder_type)
    job = check(plan, folder, expected)
    with growing_folder(folder, job[:_KEY_DIGITS]) as part:
        steps = Steps(part, job, progress)
        plan = replace(plan, language=with_tokenizer(plan.language, part / TOKENIZER))
        encoder, difference = _encoder(plan, part, expected.encoder_type, progress, steps)
        language = part / LLM.format(expected.llm_type)
        llm.write_llm(
            plan.language,
            language,
            expected.llm_type,
            threads=threads,
            progress=progress,
            steps=steps,
        )
        progress("check", 0, 1)
        architecture, prompt_tokens = checks.check_llm(language, plan)
        more_tokens = _QUESTION_TOKENS
        if "{hotwords}" in plan.wording.template:
            more_tokens += _HOTWORD_TOKENS
        shutil.rmtree(part / TOKENIZER, ignore_errors=True)
        hashes = steps.hashes
        files = [
            Written(role, path, plan.licences["encoder"], hashes.get(path.name, ""))
            for role, path in zip(("encoder", "encoder-data"), encoder, strict=False)
        ]
        files.append(Written("llm", language, plan.licences["llm"], hashes.get(language.name, "")))

        def write_entry(encoder_bytes: Measured = ()) -> ModelEntry:
            text = entry_text(
                plan,
                folder.absolute().name,
                files,
                architecture=architecture,
                max_tokens=max(_LEAST_TOKENS, prompt_tokens + more_tokens),
                encoder_bytes=encoder_bytes,
                source=source,
            )
            (part / TOML_NAME).write_text(text, encoding="utf-8")
            return read_entry(part / TOML_NAME)

        entry = write_entry()
        if measure is not None:
            progress("measure the encoder", 0, 1)
            write_entry(measure(encoder[0], entry))
        sizes = tuple((file.role, file.path.name, file.path.stat().st_size) for file in files)
        progress("check", 1, 1)
    return Converted(folder, entry.name, plan.family, sizes, difference, plan.notes)


def check(plan: Plan, folder: Path, expected: Estimate) -> str:
    """The job that making `folder` is; see `steps`. Raises OutputError if there is no room for it,
    or something lies there already.
    """
    check_target(folder)
    job = job_of(plan, llm_type=expected.llm_type, encoder_type=expected.encoder_type)
    needed_bytes = expected.disk_bytes - left_bytes(folder, job[:_KEY_DIGITS])
    check_room(folder, needed_bytes)
    return job


def with_tokenizer(language: Language, folder: Path) -> Language:
    """The same with a tokenizer.json in `folder`, if the checkpoint has only Mistral's own file."""
    source = language.checkpoint.folder
    if not tekken.needs_tekken(source):
        return language
    tekken.write_tokenizer(source / tekken.NAME, folder)
    return replace(language, own_tokenizer=folder)


def _encoder(
    plan: Plan, part: Path, type_name: str, progress: Progress, steps: Steps
) -> tuple[tuple[Path, ...], float]:
    """The encoder's files, and how far its graph is from the tower."""

    def make() -> tuple[Path, ...]:
        progress("write the encoder", 0, 1)
        return export.write_encoder(plan.tower, part / ENCODER, type_name)

    files = tuple(sorted(part / name for name in steps(_ENCODER_STEP, make)))
    difference = steps.fact(_ENCODER_STEP)
    if difference is None:
        progress("compare the encoder", 0, 1)
        with unread():
            tower = plan.tower()
        rows = checks.tower_rows(layer_by_layer(tower.eval()), plan)
        del tower
        difference = checks.rows_difference(rows, files[0])
        if type_name == "f32":
            checks.check_graph(difference, files[0])
        steps.note(_ENCODER_STEP, difference)
    return files, difference
