"""What every audio encoder does: mono float32 audio in, LLM embeddings out, at times words."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, ModelError
from ..lifetime import Loadable
from .sound import Sound
from .windows import split_points


class Encoder(Loadable):
    """Audio [S] -> embeddings [T, d_model], `tokens_per_second` of them.

    Any length works: the end is padded with silence to the token grid, and audio longer than
    `max_window_s` is cut at quiet points. Subclasses give `load`, `close`, `nbytes` and
    `_encode_window`. The constructor is cheap; `load` does the work; `close` may be called twice.
    """

    def __init__(
        self, *, d_model: int, sample_rate_hz: int, tokens_per_second: float, max_window_s: float
    ) -> None:
        token_samples = sample_rate_hz / tokens_per_second
        if token_samples != int(token_samples):
            raise ModelError(
                f"{tokens_per_second} tokens a second do not divide {sample_rate_hz} Hz.",
                cure="Mend [audio] in model.toml.",
            )
        self.d_model = d_model
        self.sample_rate_hz = sample_rate_hz
        self.tokens_per_second = tokens_per_second
        self.token_samples = int(token_samples)
        self.max_window_tokens = max(1, int(max_window_s * tokens_per_second))

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
        """T rows of audio [T * token_samples], T at most `max_window_tokens`."""

    @property
    def words(self) -> tuple[str, ...]:
        """The vocabulary that `Sound.words` points into, lower case, a space before those that
        begin a word; empty if the encoder names no words.
        """
        return ()

    def token_count(self, n_samples: int) -> int:
        """T, the embeddings that `n_samples` of audio give."""
        return -(-n_samples // self.token_samples)

    def encode(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings [T, d_model] float32 of `audio` [S], mono at `sample_rate_hz`.

        T is `token_count(S)`; no audio gives no rows. Raises InputError for other than one finite
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
        for start, end in split_points(samples, self.token_samples, self.max_window_tokens):
            window = samples[start * self.token_samples : end * self.token_samples]
            missing = (end - start) * self.token_samples - len(window)
            yield self._encode_window(np.pad(window, (0, missing)) if missing else window)
