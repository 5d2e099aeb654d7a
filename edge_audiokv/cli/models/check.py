"""`edge-audiokv models check`: is a converted model whole, and equal to its checkpoint?"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_audiokv.cli import complete, voice
from edge_audiokv.cli.command import Command
from edge_audiokv.cli.models.checkpoint import Located, locate
from edge_audiokv.cli.models.convert import bar, keep_apart, planned
from edge_audiokv.errors import DownloadError, MissingExtraError, ParityError
from edge_audiokv.families import packages
from edge_audiokv.models import catalog
from edge_audiokv.models.entry import ModelEntry
from edge_audiokv.native.threads import usable_cores
from edge_audiokv.units import format_bytes, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edge_audiokv.families.parity.compare import Converted
    from edge_audiokv.families.parity.finding import Finding

_PARITY = "parity"
# Long enough for more than one chunk of every family, and whole rows of each.
_CLIP_S = 5.44
_FOLDER = "FOLDER|OWNER/NAME"


@click.command("check", cls=Command)
@click.argument("model", metavar="DIR", shell_complete=complete.models)
@click.option("--against", metavar=_FOLDER, help="The checkpoint; default: where it came from.")
@click.option("--llm", metavar=_FOLDER, help="The LLM that an Ultravox names.")
@click.option("--whisper", metavar=_FOLDER, help="The encoder that an old Ultravox names.")
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How the findings are printed.",
)
@click.option("-t", "--threads", type=click.IntRange(1, 256), help="Threads; default: all cores.")
def command(
    model: str,
    against: str | None,
    llm: str | None,
    whisper: str | None,
    form: str,
    threads: int | None,
) -> None:
    """Check a converted model against its checkpoint.

    Looked at are: every file by its hash, the LLM and the encoder beside what model.toml says of
    them, rows for sound of several lengths, and the prompt. If the checkpoint is here (a folder, or
    in the hub's cache), and what `models convert` needs, the model is held against transformers,
    too: rows of the encoder, logits of the LLM in llama.cpp's own cache, and the tokens that follow
    a clip. What is quantised is told its distance, and fails only as another checkpoint would.

    What cannot be looked at is left out, with the reason. If a check fails the exit code is 13.

    \b
    Examples:
      edge-audiokv models check ./qwen3-asr
      edge-audiokv models check ./qwen3-asr --against Qwen/Qwen3-ASR-0.6B-hf -f json
    """
    entry = catalog.resolve(model)
    found: list[Finding] = []
    threads = threads or usable_cores()
    for finding in _findings(
        entry, {"checkpoint": against, "llm": llm, "whisper": whisper}, threads
    ):
        found.append(finding)
        if form == "text":
            voice.tell(f"{finding.verdict:<9} {finding.name:<22} {printable(finding.what)}")
    failed = [finding.name for finding in found if finding.has_failed]
    if form == "json":
        document = {
            "name": entry.name,
            "ok": not failed,
            "checks": [finding.to_dict() for finding in found],
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    if failed:
        raise ParityError(
            f"{len(failed)} of {len(found)} checks of {entry.name} failed: {', '.join(failed)}.",
            cure="Convert the checkpoint again; if it stays so, report it.",
        )


def _findings(entry: ModelEntry, given: dict[str, str | None], threads: int) -> Iterator[Finding]:
    # Imported here: other commands on models do without all of it.
    from edge_audiokv.cli.models import structure
    from edge_audiokv.families.parity.finding import left_out

    whole = True
    for finding in structure.findings(entry, threads):
        whole = whole and not finding.has_failed
        yield finding
    if not whole:
        return
    try:
        packages.need()
    except MissingExtraError as error:
        yield left_out(_PARITY, str(error))
        return
    parts = _parts(entry, given)
    if "checkpoint" not in parts:
        yield left_out(_PARITY, f"Its checkpoint is not here: give it as --against {_FOLDER}.")
        return
    yield from _parity(entry, parts, threads)


def _parts(entry: ModelEntry, given: dict[str, str | None]) -> dict[str, Located]:
    """The checkpoint's parts: as given, else where the entry says, if they are here."""
    parts = {role: locate(text) for role, text in given.items() if text is not None}
    stated = entry.source.parts if entry.source is not None else {}
    for role, text in stated.items():
        if role not in parts and (found := _stated(entry, text)) is not None:
            parts[role] = found
    return parts


def _stated(entry: ModelEntry, text: str) -> Located | None:
    """What an entry names, if it is here: nothing is fetched because a file says so."""
    from edge_audiokv.families.hub.name import parse

    name = parse(text)
    if name is None:
        folder = (entry.directory / text).resolve()
        return Located(folder) if folder.is_dir() else None
    from edge_audiokv.families.hub.cached import cached

    try:
        folder, commit = cached(name)
    except DownloadError:
        return None
    return Located(folder, name, commit)


def _parity(entry: ModelEntry, parts: dict[str, Located], threads: int) -> Iterator[Finding]:
    keep_apart()
    from dataclasses import replace

    import psutil
    import torch

    from edge_audiokv.families.convert import with_tokenizer
    from edge_audiokv.families.parity import compare
    from edge_audiokv.families.parity.finding import left_out
    from edge_audiokv.families.parity.reference import Reference, needed_bytes

    torch.set_num_threads(threads)
    with bar() as report:
        for part in parts.values():
            part.fetch(report)
    plan = planned(parts)
    made = _converted(entry)
    with tempfile.TemporaryDirectory(prefix="edge-audiokv-") as scratch:
        plan = replace(plan, language=with_tokenizer(plan.language, Path(scratch) / "tokenizer"))
        yield compare.tokens_finding(plan, made)
        yield compare.tower_finding(plan, made)
    needed, free = needed_bytes(plan), psutil.virtual_memory().available
    if needed > free:
        yield left_out(
            "transformers",
            f"In 32 bits the checkpoint takes {format_bytes(needed)} of memory, and"
            f" {format_bytes(free)} are free.",
        )
        return
    yield from compare.findings(made, Reference(plan), _clip(entry), threads)


def _converted(entry: ModelEntry) -> Converted:
    from edge_audiokv.cli.models.structure import path_of
    from edge_audiokv.engine.prompt import PromptTemplate
    from edge_audiokv.families.parity.compare import Converted, encoder_type
    from edge_audiokv.models.gguf import read_header
    from edge_audiokv.native.model import Model

    template = PromptTemplate.of(entry.prompt)
    encoder, llm = path_of(entry, "encoder"), path_of(entry, "llm")
    with Model(llm) as model:
        before, after = template.before_ids(model), template.after_ids(model)
    text = entry.prompt.template + entry.prompt.end_of_turn
    return Converted(
        encoder=encoder,
        encoder_type=encoder_type(encoder),
        llm=llm,
        llm_type=read_header(llm).quantisation or "",
        before=before,
        after=after,
        prompt=text.replace("{audio}", "").replace("{question}", entry.prompt.question),
    )


def _clip(entry: ModelEntry) -> NDArray[np.float32]:
    """Tones under a slow envelope with noise, as long as whole rows of the model."""
    import numpy as np

    rate = entry.rule.sample_rate_hz
    n_samples = entry.rule.padded(round(min(_CLIP_S, entry.max_audio_s) * rate))
    time_s = np.arange(n_samples) / rate
    tones = sum(np.sin(2 * np.pi * hz * time_s) * 0.1 for hz in (120, 240, 700, 1800, 3100))
    slow = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * time_s)
    noise = 0.01 * np.random.default_rng(0).standard_normal(n_samples)
    return np.asarray(tones * slow + noise, dtype=np.float32)
