"""What keeps a run from being made, all of it, before hours are spent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_audiokv.audio.files.file import FileSource
from edge_audiokv.errors import EdgeAudioKVError, InputError
from edge_audiokv.eval.quants.measure import LONGEST_S
from edge_audiokv.eval.wer import Utterance, normalise
from edge_audiokv.models.catalog import resolve
from edge_audiokv.models.download import local_path
from edge_audiokv.models.entry import ModelEntry
from edge_audiokv.models.gguf import read_header
from edge_audiokv.units import format_bytes

_MOST_NAMED = 5


def read_clips(
    read: Callable[[], list[Utterance]], longest_s: float, faults: list[str]
) -> list[Utterance]:
    """The clips that `read` gives; what is wrong with any of them is added to `faults`."""
    try:
        clips = read()
    except InputError as error:
        faults.append(f"--data: {error}")
        return []
    empty, twice, unread = [], [], []
    seen: set[str] = set()
    for clip in clips:
        if not any(map(str.isalnum, normalise(clip.text))):
            empty.append(clip.id)
        if clip.id in seen:
            twice.append(clip.id)
        seen.add(clip.id)
        source = FileSource(clip.path)
        try:
            with source:
                if source.duration_s > longest_s:
                    unread.append(f"{clip.path} is longer than {longest_s:g} s")
        except EdgeAudioKVError as error:
            unread.append(error.what.rstrip("."))
    if empty:
        faults.append(f"--data: no words in the text of {_some(empty)}")
    if twice:
        faults.append(f"--data: the id is there twice of {_some(twice)}")
    faults += [f"--data: {_some(unread)}"] if unread else []
    return clips


def read_model(name: str, faults: list[str]) -> ModelEntry | None:
    """The model's entry; a GGUF that is here and cut short is told now."""
    try:
        entry = resolve(name)
    except EdgeAudioKVError as error:
        faults.append(f"--model: {error}")
        return None
    for role in ("llm", "lora"):
        file = entry.file(role)
        if file is None:
            continue
        path = local_path(entry, file)
        if file.is_fetched and not path.is_file():
            continue
        try:
            size_bytes = read_header(path).file_bytes
        except EdgeAudioKVError as error:
            faults.append(f"--model: {error.what.rstrip('.')}")
            continue
        if file.size_bytes not in (None, size_bytes):
            faults.append(
                f"--model: {path} has {format_bytes(size_bytes)}, not "
                f"{format_bytes(file.size_bytes or 0)}"
            )
    return entry


def longest_s(entry: ModelEntry | None) -> float:
    """Seconds that a clip may have."""
    return LONGEST_S if entry is None else min(LONGEST_S, entry.max_audio_s)


def refuse(faults: Sequence[str]) -> None:
    """Raise InputError with all of `faults`, if there are any."""
    if len(faults) == 1:
        raise InputError(f"{faults[0].rstrip('.')}.", cure="Nothing was measured.")
    if faults:
        listed = " ".join(f"({n}) {text.rstrip('.')}." for n, text in enumerate(faults, 1))
        raise InputError(f"{len(faults)} things are wrong: {listed}", cure="Nothing was measured.")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
