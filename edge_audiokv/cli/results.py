"""Where transcripts go: the format that a name stands for, and a file for each input."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edge_audiokv.cli import voice
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.errors import InputError, OutputError
from edge_audiokv.output import FORMATS
from edge_audiokv.output.place import SOUNDS, check_name, check_no_sound, check_place
from edge_audiokv.units import printable

SUFFIXES = {
    ".txt": "text",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".srt": "srt",
    ".vtt": "vtt",
}
# What people call a text; a number is no more than a part of a name, as in talk.2026.
_TEXTS = re.compile(r"|\.(txt|text|md|log|[0-9]+)")
_SUFFIX_OF = {"text": ".txt", **{name: f".{name}" for name in FORMATS if name != "text"}}


def source_name(source: str | None) -> str:
    """What a message calls a source: a name, "-", or None for the microphone."""
    if source is None:
        return "microphone"
    return "standard input" if source == "-" else printable(source)


def format_of(output: str, wanted: str | None) -> str:
    """The format of a result: the one that is asked for, else the one that the name stands for.

    A name that says otherwise is told on stderr. Raises OutputError for that of a sound: whoever
    mistypes would lose a recording.
    """
    suffix = Path(output).suffix.lower() if output != "-" else ""
    cure = f"Name it {Path(output).stem}.txt, or with another ending: {', '.join(SUFFIXES)}."
    check_no_sound(Path(output), cure=cure)
    named = SUFFIXES.get(suffix)
    if wanted is None:
        if named is None and not _TEXTS.fullmatch(suffix):
            voice.warn(f"{output} is written as text, not as {suffix[1:]}; see --format.")
        return named or "text"
    if named is not None and named != wanted:
        voice.warn(f"{output} is written as {wanted} (--format), not as {named}.")
    return wanted


def tell_loaded(runtime: Runtime) -> None:
    """What a small cap costs; with -v that the model is there, and what was planned."""
    voice.detail(f"{runtime.settings.model} is loaded")
    if runtime.plan is not None:
        parts = (" ".join(line.split()) for line in runtime.plan.lines())
        voice.detail(f"memory plan: {', '.join(parts)}")
    if runtime.reads_from_bytes is not None:
        # Never above what was asked for, and never kept quiet: it is worth four words in a hundred.
        unread = ", whatever --hotwords names" if runtime.settings.hotwords else ""
        voice.note(
            f"--mem {runtime.settings.mem} leaves no room for the model's reader, and words will be"
            f" less exact{unread}; --mem {runtime.reads_from_bytes // 1_000_000}MB does."
        )


@dataclass(frozen=True)
class Input:
    """A file to hear, and its name below the folder that it was found in."""

    path: str
    below: Path


def find_inputs(names: Iterable[str]) -> list[Input]:
    """The files that `names` stand for: folders give the sounds below them, in order of name.

    A file that is named itself may be called anything. Links to folders are not followed, so that
    no circle is walked. Raises InputError for a folder without any.
    """
    found = []
    for name in names:
        if name == "-" or not os.path.isdir(name):
            found.append(Input(name, Path("stdin" if name == "-" else Path(name).name)))
            continue
        inside = sorted(
            Path(folder) / file
            for folder, _, files in os.walk(name)
            for file in files
            if Path(file).suffix.lower() in SOUNDS
        )
        if not inside:
            raise InputError(
                f"There is no sound file in the directory {printable(name)}.",
                cure="Name the files themselves if they are called otherwise.",
            )
        found += [Input(str(path), path.relative_to(name)) for path in inside]
    return found


def plan_targets(
    inputs: list[Input], folder: Path, format_name: str, *, overwrite: bool
) -> list[Path]:
    """A file in `folder` for each input, of its name; the suffix stays where two would meet.

    Raises OutputError, before anything is heard, if a file is there already (unless `overwrite`),
    if none can have its name, or if two inputs would still be written to one file.
    """
    suffix = _SUFFIX_OF[format_name]
    stems = [item.below.with_suffix("") for item in inputs]
    targets = [
        folder / stem.with_name(stem.name + suffix)
        if stems.count(stem) == 1
        else folder / item.below.with_name(item.below.name + suffix)
        for item, stem in zip(inputs, stems, strict=True)
    ]
    for target in targets:
        if targets.count(target) > 1:
            raise OutputError(
                f"Two of the inputs would be written to {printable(str(target))}.",
                cure="Give them in separate runs, or their folder as the input.",
            )
        check_name(target)
        if not overwrite and target.exists():
            raise OutputError(
                f"{printable(str(target))} is there already.",
                cure="Give another --output-dir, or --overwrite.",
            )
    return targets


def check_unwritten(output: str, *, overwrite: bool) -> None:
    """OutputError if `output` is a file that holds something, unless it may be written over."""
    if output == "-" or overwrite:
        return
    # False, too, for what is no name of a file: that is told where it is opened.
    if os.path.isfile(output) and os.path.getsize(output):
        raise OutputError(
            f"{printable(output)} is there already.", cure="Give another -o, or --overwrite."
        )


def make_folders(targets: Iterable[Path]) -> None:
    """The folders that the targets lie in. Raises OutputError, also if no target can be written
    there.
    """
    targets = list(targets)
    for folder in {target.parent for target in targets}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"The folder {printable(str(folder))} cannot be made: {error.strerror or error}.",
                cure="Name a folder in a place of yours.",
            ) from None
    for target in targets:
        check_place(target)
