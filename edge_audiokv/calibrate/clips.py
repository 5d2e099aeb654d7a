"""Clips for calibration and measurement: utterances of a manifest, encoded, joined to a length."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from edge_audiokv.audio.files.file import read_all
from edge_audiokv.calibrate.alignment import words_of
from edge_audiokv.calibrate.attention import words_by_attention
from edge_audiokv.calibrate.parts import Parts
from edge_audiokv.calibrate.prefilled import Clip
from edge_audiokv.engine.alignment.path import align
from edge_audiokv.engine.alignment.times import timed
from edge_audiokv.errors import InputError
from edge_audiokv.events import Word
from edge_audiokv.manifest import clip_of, read_lines

_OTHER = re.compile(r"[^a-z' ]+")


def read_entries(manifest: Path) -> list[dict[str, Any]]:
    """The JSONL entries of `manifest`; each has "path" (relative to it) and "text".

    Raises InputError naming the line that cannot be used.
    """
    entries = []
    for number, entry in read_lines(manifest):
        clip_of(entry, manifest, number)
        entries.append(entry)
    if not entries:
        raise InputError(f"The manifest {manifest} holds no clips.")
    return entries


def spoken(text: str) -> str:
    """Text as the default model writes it: lower case, letters and apostrophes."""
    return " ".join(_OTHER.sub(" ", text.lower().replace("-", " ")).split())


def reference(parts: Parts, text: str) -> str:
    """A reference text as the model writes it: one whose encoder names words writes those alone."""
    return spoken(text) if parts.encoder.words else " ".join(text.split())


def reference_ids(parts: Parts, text: str) -> list[int]:
    """Token ids of a reference text, as an answer begins (no space before the first word)."""
    return parts.model.tokenize(reference(parts, text), special=False)


@dataclass(frozen=True)
class Join:
    """Whole neighbouring utterances of a manifest that make one clip; nothing is read yet."""

    manifest: Path
    entries: tuple[dict[str, Any], ...]

    @property
    def id(self) -> str:
        first = self.entries[0]
        name = str(first.get("id", Path(first["path"]).stem))
        return name if len(self.entries) == 1 else f"{name}+{len(self.entries) - 1}"

    @property
    def texts(self) -> list[str]:
        """What is said in each utterance."""
        return [entry["text"] for entry in self.entries]

    def encode(self, parts: Parts) -> Clip:
        """Read and encode the utterances one by one, as speech segments are."""
        embeddings = [parts.encoder.encode(read_all(path)) for path in self.paths]
        length_s = sum(len(part) for part in embeddings) / parts.encoder.tokens_per_second
        text = " ".join(self.texts)
        return Clip(self.id, np.concatenate(embeddings), reference_ids(parts, text), length_s, text)

    @property
    def paths(self) -> list[Path]:
        return [self.manifest.parent / entry["path"] for entry in self.entries]

    def words(self, parts: Parts) -> list[Word]:
        """The words with times, shifted to the join's time: as the manifest has them, or else as an
        encoder with a vocabulary heard them, or else where the LLM looked for them.

        Raises InputError if the manifest's own are malformed.
        """
        words: list[Word] = []
        offset_tokens = 0
        for entry, path in zip(self.entries, self.paths, strict=True):
            offset_s = offset_tokens / parts.encoder.tokens_per_second
            words += [
                Word(w.text, w.start_s + offset_s, w.end_s + offset_s, w.confidence)
                for w in self._words_of(parts, entry, path)
            ]
            offset_tokens += _tokens(parts, path)
        return words

    @staticmethod
    def _words_of(parts: Parts, entry: dict[str, Any], path: Path) -> list[Word]:
        if "words" in entry:
            return words_of(entry)
        encoder, text = parts.encoder, reference(parts, entry["text"])
        sound = encoder.hear(read_all(path))
        if not encoder.words:
            return words_by_attention(parts, sound.embeddings, text)
        aligned = align(text, sound, encoder.words, floor=parts.local.entry.word_floor)
        return list(timed(aligned, frame_s=1 / encoder.tokens_per_second))


def _tokens(parts: Parts, path: Path) -> int:
    """Embeddings that a file will give, from its header."""
    try:
        info = soundfile.info(str(path))
    except soundfile.LibsndfileError as error:
        raise InputError(f"{path} cannot be read ({error}).") from None
    rate = parts.encoder.sample_rate_hz
    return parts.encoder.token_count(round(info.frames * rate / info.samplerate))


def plan_joins(
    parts: Parts,
    manifest: Path,
    *,
    seconds: float,
    limit: int,
    speakers: tuple[str, ...] = (),
    shuffle_seed: int | None = None,
) -> Iterator[Join]:
    """Up to `limit` joins, each of whole neighbouring utterances until `seconds` are reached.

    `seconds` 0 gives single utterances. Only file headers are read.
    """
    entries = [e for e in read_entries(manifest) if not speakers or e.get("speaker") in speakers]
    if shuffle_seed is not None:
        order = np.random.default_rng(shuffle_seed).permutation(len(entries))
        entries = [entries[i] for i in order]
    group: list[dict[str, Any]] = []
    n_tokens, made = 0, 0
    for entry in entries:
        group.append(entry)
        n_tokens += _tokens(parts, manifest.parent / entry["path"])
        if n_tokens / parts.encoder.tokens_per_second < seconds:
            continue
        yield Join(manifest, tuple(group))
        made += 1
        if made >= limit:
            return
        group, n_tokens = [], 0
