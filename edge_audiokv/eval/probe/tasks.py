"""Labelled clips: which field of a manifest is to be told from the sound."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_audiokv.errors import InputError
from edge_audiokv.manifest import read_lines

FOLDS = 5


@dataclass(frozen=True)
class Task:
    """N clips with their labels. Clips of one of `groups` are never on both sides of a fold.

    `n_left_out` counts clips without a label, or of a label that fewer than FOLDS clips have.
    """

    name: str
    clips: tuple[Path, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    n_left_out: int = 0

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.labels)))

    @property
    def chance(self) -> float:
        """The share of the commonest label: what is right without hearing anything."""
        return max(Counter(self.labels).values()) / len(self.labels)


def read_task(text: str, *, limit: int | None = None) -> Task:
    """The task of "FILE", "FILE:LABEL" or "FILE:LABEL:GROUP".

    LABEL and GROUP are fields of the manifest's lines ("slots.size": one within another); without
    them the label is "label" and every clip is a group of its own. `limit` takes so many clips of
    every label. Raises InputError for what cannot be told apart.
    """
    path, label, group = _parts(text)
    found: list[tuple[Path, str, str]] = []
    n_unlabelled = 0
    for number, data in read_lines(path):
        audio, value = data.get("path"), _field(data, label)
        if not isinstance(audio, str):
            raise InputError(
                f"{path} line {number} names no sound.", cure='Each line needs {"path": ...}.'
            )
        if value is None:
            n_unlabelled += 1
            continue
        unit = _field(data, group) if group else None
        found.append((path.parent / audio, value, f"clip {number}" if unit is None else unit))
    if limit is not None:
        found = _some_of_each(found, limit)
    sizes = Counter(value for _, value, _ in found)
    kept = [item for item in found if sizes[item[1]] >= FOLDS]
    if len({value for _, value, _ in kept}) < 2:
        raise InputError(
            f"{path} has fewer than two values of {label!r} with {FOLDS} clips or more.",
            cure="Name a field that tells clips apart, as in FILE:LABEL.",
        )
    if len({unit for _, _, unit in kept}) < FOLDS:
        raise InputError(
            f"{path} has fewer than {FOLDS} values of {group!r}.",
            cure="Name another field, or none: FILE:LABEL.",
        )
    clips, labels, groups = zip(*kept, strict=True)
    missing = [clip for clip in clips if not clip.is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} clips of {path} are missing, {missing[0]} for one.",
            cure="Check the paths in it: they are relative to the manifest.",
        )
    name = f"{path.parent.name or path.stem}, {label}"
    return Task(name, clips, labels, groups, n_unlabelled + len(found) - len(kept))


def _parts(text: str) -> tuple[Path, str, str]:
    """The file is as much of the text as there is on disk: names may hold colons."""
    words = text.split(":")
    for n_fields in range(min(3, len(words))):
        end = len(words) - n_fields
        path = Path(":".join(words[:end])).expanduser()
        if path.is_file():
            label, group = ([*words[end:], "", ""] if n_fields else ["label", ""])[:2]
            return path, label, group
    raise InputError(
        f"There is no manifest {words[0]}.", cure="Give FILE, FILE:LABEL or FILE:LABEL:GROUP."
    )


def _field(data: dict[str, Any], name: str) -> str | None:
    value: Any = data
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return None if value is None or value == "" or isinstance(value, dict | list) else str(value)


def _some_of_each(found: list[tuple[Path, str, str]], limit: int) -> list[tuple[Path, str, str]]:
    """Spread over each label's clips: neighbours in a manifest are often of one speaker."""
    members: dict[str, list[int]] = {}
    for index, (_, value, _) in enumerate(found):
        members.setdefault(value, []).append(index)
    kept = set()
    for own in members.values():
        n_kept = min(limit, len(own))
        kept |= {own[i * len(own) // n_kept] for i in range(n_kept)}
    return [item for index, item in enumerate(found) if index in kept]
