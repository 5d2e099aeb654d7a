"""Speech on disk: one flat int16 file and one JSON line an utterance, read through a memmap.

`NAME.pcm` holds 16 kHz mono samples end to end; `NAME.jsonl` holds for each utterance its id, text,
speaker, first sample (`start`) and length (`samples`). Nothing is loaded until it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_audiokv.errors import InputError

SAMPLE_RATE_HZ = 16_000
SAMPLES_PER_TOKEN = 1_280
MAX_SAMPLES = 480_000

Audio = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Utterance:
    """One stretch of speech with known words."""

    id: str
    text: str
    speaker: str
    start: int
    samples: int

    @property
    def duration_s(self) -> float:
        return self.samples / SAMPLE_RATE_HZ


class CorpusWriter:
    """Appends utterances; the index is written last, so a half-written corpus is never read."""

    def __init__(self, stem: Path) -> None:
        stem.parent.mkdir(parents=True, exist_ok=True)
        self.stem = stem
        self.rows: list[Utterance] = []
        self.position = 0
        self._pcm = stem.with_suffix(".pcm").open("wb")

    def add(self, id: str, text: str, speaker: str, audio: Audio) -> None:
        """Append float samples in [-1, 1] at 16 kHz."""
        pcm = np.clip(np.rint(audio * 32767), -32768, 32767).astype("<i2")
        self._pcm.write(pcm.tobytes())
        self.rows.append(Utterance(id, text, speaker, self.position, len(pcm)))
        self.position += len(pcm)

    def flush(self) -> None:
        """Make what was added so far readable (atomic replace of the index)."""
        self._pcm.flush()
        index = self.stem.with_suffix(".jsonl")
        part = index.with_suffix(".part")
        part.write_text("".join(json.dumps(asdict(row)) + "\n" for row in self.rows))
        part.replace(index)

    def close(self) -> None:
        if not self._pcm.closed:
            self.flush()
            self._pcm.close()


class Corpus:
    """Utterances of one or more corpora, with samples mapped and not loaded."""

    def __init__(self, stems: Iterable[Path]) -> None:
        self.utterances: list[Utterance] = []
        self._maps: list[npt.NDArray[np.int16]] = []
        self._owner: list[int] = []
        for stem in stems:
            index, pcm = stem.with_suffix(".jsonl"), stem.with_suffix(".pcm")
            if not index.exists() or not pcm.exists():
                raise InputError(
                    f"No corpus at {stem}.", cure="Run scripts/prepare_speech.py first."
                )
            rows = [Utterance(**json.loads(line)) for line in index.read_text().splitlines()]
            if not rows:
                continue
            self._maps.append(np.memmap(pcm, dtype="<i2", mode="r"))
            self._owner.extend([len(self._maps) - 1] * len(rows))
            self.utterances.extend(rows)

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def hours(self) -> float:
        return sum(u.samples for u in self.utterances) / SAMPLE_RATE_HZ / 3600

    def keep(self, wanted: Iterable[int]) -> None:
        """Narrow to these positions, in this order."""
        order = list(wanted)
        self.utterances = [self.utterances[i] for i in order]
        self._owner = [self._owner[i] for i in order]

    def audio(self, position: int) -> Audio:
        """Samples [N] in [-1, 1] of one utterance."""
        row = self.utterances[position]
        raw = self._maps[self._owner[position]][row.start : row.start + row.samples]
        return raw.astype(np.float32) / 32768.0


def read_manifest(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a `manifest.jsonl`, with `path` made absolute."""
    if not path.exists():
        raise InputError(f"No manifest at {path}.", cure="Name the data folder with --data.")
    with path.open() as lines:
        for line in lines:
            row: dict[str, Any] = json.loads(line)
            row["path"] = str(path.parent / row["path"])
            yield row
