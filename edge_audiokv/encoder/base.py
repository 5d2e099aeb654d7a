"""What every audio encoder does: mono float32 audio in, LLM embeddings out, at times words."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, ModelError
from ..lifetime import Loadable
from ..models.token_rule import TokenRule
from .sound import Sound
from .windows import split_points


class Encoder(Loadable):
    """Audio [S] -> embeddings [T, d_model], as many as `rule` says.

    Any length works: the end is padded with silence as the rule wants it, and audio longer than
    `max_window_s` is cut at quiet points, or where the encoder's own chunks end. Subclasses give
    `load`, `close`, `nbytes` and `_encode_window`. The constructor is cheap; `load` does the work;
    `close` may be called twice.
    """

    def __init__(self, *, d_model: int, rule: TokenRule, max_window_s: float) -> None:
        if rule.fault is not None:
            raise ModelError(f"{rule.fault}.", cure="Mend [audio] in model.toml.")
        self.d_model = d_model
        self.rule = rule
        self.sample_rate_hz = rule.sample_rate_hz
        self.tokens_per_second = rule.tokens_per_second
        n_cuts = int(max_window_s * rule.sample_rate_hz) // rule.cut_samples
        self.max_window_samples = max(1, n_cuts) * rule.cut_samples
        self.digits: NDArray[np.float32] | None = None
        """What the LLM reads for "0" to "9", [10, d_model]: with them a `timed` rule's texts come
        between the rows; without, only the graph's rows come.
        """

    @abstractmethod
    def load(self) -> Self:
        """Read the weights and check that they fit. Raises ModelError if they do not."""

    @abstractmethod
    def close(self) -> None:
        """Give the memory back."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes that the encoder holds at its peak, weights and the longest window; 0 if closed."""

    @abstractmethod
    def _encode_window(self, audio: NDArray[np.float32]) -> Sound:
        """The rows of audio [S], padded as the rule says, S at most `max_window_samples`."""

    @property
    def words(self) -> tuple[str, ...]:
        """The vocabulary that `Sound.words` points into, lower case, a space before those that
        begin a word; empty if the encoder names no words.
        """
        return ()

    def token_count(self, n_samples: int) -> int:
        """T, the embeddings that `n_samples` of audio give; exact but for a short last block."""
        rows = self.rule.graph_rows if self.digits is None else self.rule.rows
        return rows(n_samples)

    def encode(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings [T, d_model] float32 of `audio` [S], mono at `sample_rate_hz`.

        No audio gives no rows. Raises InputError for other than one finite
        dimension.
        """
        return self.hear(audio).embeddings

    def hear(self, audio: NDArray[np.float32]) -> Sound:
        """Like `encode`, with the words that are believed to be in it."""
        windows = list(self.windows(audio))
        if not windows:
            return Sound.of(np.empty((0, self.d_model), dtype=np.float32))
        return Sound.join(windows)

    def windows(self, audio: NDArray[np.float32]) -> Iterator[Sound]:
        """The same rows, window by window, so that an hour needs no hour of rows at once."""
        samples = np.asarray(audio, dtype=np.float32)
        if samples.ndim != 1:
            raise InputError(
                f"The encoder takes mono audio, not an array of shape {samples.shape}.",
                cure="Mix the channels down first.",
            )
        if not np.isfinite(samples).all():
            raise InputError(
                "The audio holds samples that are not numbers.", cure="Repair or convert the file."
            )
        n_rows = 0
        for start, end in self._cuts(samples):
            window = samples[start:end]
            missing = self.rule.padded(len(window)) - len(window)
            heard = self._encode_window(np.pad(window, (0, missing)) if missing else window)
            yield self._timed(heard, n_rows)
            n_rows += len(heard)

    def _timed(self, sound: Sound, after_rows: int) -> Sound:
        """`sound`, which follows `after_rows` rows, with the texts that come between its rows."""
        times = self.rule.times(len(sound), after_rows) if self.digits is not None else []
        if self.digits is None or not times:
            return sound
        at = [row for row, text in times for _ in text]
        rows = self.digits[[int(digit) for _, text in times for digit in text]]
        return Sound(
            np.insert(sound.embeddings, at, rows, axis=0),
            np.insert(sound.words, at, 0, axis=0),
            np.insert(sound.beliefs, at, 0, axis=0),
        )

    def _cuts(self, samples: NDArray[np.float32]) -> Iterator[tuple[int, int]]:
        """[start, end) of the windows, in samples."""
        if self.rule.chunk_s:
            for start in range(0, len(samples), self.max_window_samples):
                yield start, start + self.max_window_samples
            return
        unit = self.rule.cut_samples
        for first, last in split_points(samples, unit, self.max_window_samples // unit):
            yield first * unit, last * unit
