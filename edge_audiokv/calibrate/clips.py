"""Clips for calibration and measurement: utterances of a manifest, encoded, joined to a length."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edge_audiokv.audio.file import read_all
from edge_audiokv.calibrate.alignment import Word, words_of
from edge_audiokv.calibrate.parts import Parts
from edge_audiokv.calibrate.prefilled import Clip
from edge_audiokv.errors import InputError

_OTHER = re.compile(r"[^a-z' ]+")


def read_entries(manifest: Path) -> list[dict[str, Any]]:
    """The JSONL entries of `manifest`; each has "path" (relative to it) and "text".

    Raises InputError naming the line that cannot be used.
    """
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The manifest {manifest} cannot be read ({error}).") from None
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            entry["path"], entry["text"] = str(entry["path"]), str(entry["text"])
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{manifest} line {number} is no clip.", cure='It needs {"path": ..., "text": ...}.'
            ) from None
        entries.append(entry)
    if not entries:
        raise InputError(f"The manifest {manifest} holds no clips.")
    return entries


def spoken(text: str) -> str:
    """Text as the default model writes it: lower case, letters and apostrophes."""
    return " ".join(_OTHER.sub(" ", text.lower().replace("-", " ")).split())


def reference_ids(parts: Parts, text: str) -> list[int]:
    """Token ids of a reference text, as an answer begins."""
    return parts.model.tokenize(" " + spoken(text), special=False)


def joins(
    parts: Parts,
    manifest: Path,
    *,
    seconds: float,
    limit: int,
    speakers: tuple[str, ...] = (),
    shuffle_seed: int | None = None,
    with_words: bool = False,
) -> Iterator[tuple[Clip, list[Word]]]:
    """Up to `limit` clips, each of whole neighbouring utterances until `seconds` are reached.

    Utterances are encoded one by one, as speech segments are. `seconds` 0 gives single utterances.
    With `with_words` the word times of the manifest come too, shifted to the join's time.
    """
    entries = [e for e in read_entries(manifest) if not speakers or e.get("speaker") in speakers]
    if shuffle_seed is not None:
        order = np.random.default_rng(shuffle_seed).permutation(len(entries))
        entries = [entries[i] for i in order]
    per_second = parts.encoder.tokens_per_second
    parts_of: list[Any] = []
    texts: list[str] = []
    words: list[Word] = []
    names: list[str] = []
    made = 0
    for entry in entries:
        audio = read_all(manifest.parent / entry["path"])
        offset_s = sum(len(part) for part in parts_of) / per_second
        parts_of.append(parts.encoder.encode(audio))
        texts.append(entry["text"])
        names.append(str(entry.get("id", Path(entry["path"]).stem)))
        if with_words:
            words += [
                Word(w.text, w.start_s + offset_s, w.end_s + offset_s, w.confidence)
                for w in words_of(entry)
            ]
        length_s = sum(len(part) for part in parts_of) / per_second
        if length_s < seconds:
            continue
        text = " ".join(texts)
        name = names[0] if len(names) == 1 else f"{names[0]}+{len(names) - 1}"
        clip = Clip(name, np.concatenate(parts_of), reference_ids(parts, text), length_s, text)
        yield clip, words
        made += 1
        if made >= limit:
            return
        parts_of, texts, words, names = [], [], [], []
