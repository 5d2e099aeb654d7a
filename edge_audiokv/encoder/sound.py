"""What an encoder makes of audio: rows for the LLM and, from some encoders, the words in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sound:
    """Embeddings float32 [T, d_model] of audio.

    An encoder with a vocabulary (`Encoder.words`) also tells the K likeliest words of each row, as
    indices int32 [T, K], and how far it believes in them, float32 [T, K] in [0, 1]. What is missing
    to 1 is the belief that no word is said. K is 0 without a vocabulary. `in_order` if they were
    read one after the other (`weave.py`), and so are right far more often; `reading` is then what
    was read, with capitals and marks, and empty for a part of a sound.
    """

    embeddings: NDArray[np.float32]
    words: NDArray[np.int32]
    beliefs: NDArray[np.float32]
    in_order: bool = False
    reading: str = ""

    @classmethod
    def of(cls, embeddings: NDArray[np.float32]) -> Sound:
        """A sound without words."""
        none = np.empty((len(embeddings), 0), np.int32)
        return cls(embeddings, none, none.astype(np.float32))

    @classmethod
    def join(cls, parts: Sequence[Sound]) -> Sound:
        """One after the other; at least one, all of one encoder."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.embeddings for part in parts]),
            np.concatenate([part.words for part in parts]),
            np.concatenate([part.beliefs for part in parts]),
            all(part.in_order for part in parts),
            " ".join(part.reading for part in parts if part.reading),
        )

    def after(self, row: int) -> Sound:
        """From `row` on; nothing is copied."""
        parts = self.embeddings[row:], self.words[row:], self.beliefs[row:]
        return Sound(*parts, in_order=self.in_order)

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def nbytes(self) -> int:
        return self.embeddings.nbytes + self.words.nbytes + self.beliefs.nbytes

    @property
    def best_path(self) -> list[int]:
        """Words of the likeliest path: the first of each row unless silence is likelier (CTC's
        greedy reading, Graves et al. 2006).
        """
        if not self.words.shape[1]:
            return []
        silence = 1 - self.beliefs.sum(axis=1)
        best = np.where(self.beliefs[:, 0] > silence, self.words[:, 0], -1)
        starts = np.append(True, best[1:] != best[:-1])
        return [int(word) for word in best[starts] if word >= 0]
