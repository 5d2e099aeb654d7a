"""Manifests: JSON lines, an object each, that name clips and what is said in them.

Others' names of the two fields are read as well: "audio_filepath" (NeMo, the Open ASR Leaderboard)
or "audio_path" with "answer" (Kimi-Audio-Evalkit). A folder is read by its layout (layouts.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from edge_audiokv.errors import InputError
from edge_audiokv.files import read_bounded
from edge_audiokv.layouts import MOST_CLIPS, clips_in

# Half a million clips.
MAX_BYTES = 128 << 20
_OTHER_NAMES = {"path": ("audio_filepath", "audio_path"), "text": ("answer",)}


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and object of each line that is not empty.

    Raises InputError, with the line, for what is no UTF-8, no JSON, or no object.
    """
    if path.is_dir():
        yield from enumerate(islice(clips_in(path), MOST_CLIPS), 1)
        return
    try:
        lines = read_bounded(path, MAX_BYTES).decode("utf-8").splitlines()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"Cannot read the manifest {path}: {why}.", cure="Check it.") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise not_usable(path, number, str(error)) from None
        if not isinstance(data, dict):
            raise not_usable(path, number, "no JSON object")
        for name, others in _OTHER_NAMES.items():
            given = next((data[other] for other in others if other in data), None)
            if name not in data and given is not None:
                data[name] = given
        yield number, data


def clip_of(data: dict[str, Any], path: Path, number: int) -> tuple[str, str]:
    """The "path" and "text" that every clip must have. Raises InputError."""
    audio, text = data.get("path"), data.get("text")
    if not isinstance(audio, str) or not isinstance(text, str):
        raise not_usable(path, number, "path and text must be texts")
    return audio, text


def not_usable(path: Path, number: int, why: str) -> InputError:
    """What is wrong with a line."""
    return InputError(
        f"{path} line {number} is not a clip ({why}).",
        cure='Each line needs {"path": ..., "text": ...}.',
    )
