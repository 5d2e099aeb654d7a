"""Whisper reading in order, through onnxruntime: what it would write, how surely, and where.

Two graphs, of which `edge_audiokv/train/reader_export.py` says what goes in and out: sound to the
keys and values that the text decoder attends to, and one step of that decoder, its cache passed
through. The weights come from the file of another package (`filling.py`), rounded to int8 as they
are loaded. Keys and values stay in onnxruntime's arena.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..lifetime import Loadable
from .filling import fill
from .hotwords import Expecting, Hotwords
from .outside import outside_places
from .reading import MAX_TOKENS_PER_S, SLACK_TOKENS, Step, read, word_of
from .session import first_line, open_session, trim_heap
from .variables import Variables

_PROMPT, _END = (50257, 50362), 50256  # <|startoftranscript|>, <|notimestamps|>, <|endoftext|>
_PREVIOUS = 50360  # <|startofprev|>
_TABLE, _POSITIONS = "decoder/embeddings/weight", "decoder/position_encodings/encodings"
_STEP = ("tokens", "beliefs", "looks")
FRAME_S = 0.02
RATE_HZ = 16_000
MAX_S = 30.0


class WhisperReader(Loadable):
    """Reads windows of 16 kHz sound, 30 s at most. `words` are what each token says."""

    def __init__(
        self, audio: Path, text: Path, weights: Path, *, threads: int = 1, provider: str = "cpu"
    ) -> None:
        self.paths = audio, text, weights
        self.threads, self.provider = threads, provider
        # What each token writes, and its word: letters in lower case, nothing for marks.
        self.texts: tuple[str, ...] = ()
        self.words: tuple[str, ...] = ()
        self.hotwords: Hotwords | None = None
        self._hear: Any = None
        self._write: Any = None
        self._table: NDArray[np.generic] = np.empty((0, 0), np.float32)
        self._positions = self._table
        self._parts: tuple[str, ...] = ()
        self._memory: dict[str, Any] = {}
        self._past: dict[str, Any] = {}
        self._n_frames = self._n_written = 0

    def load(self) -> Self:
        """Round the weights and open both graphs. Raises ModelError if they do not fit together."""
        if self._hear is not None:
            return self
        audio, text, weights = self.paths
        for path in self.paths:
            if not path.is_file():
                raise ModelError(
                    f"The reader's {path} is missing.",
                    cure="Run `edge-audiokv models pull`, or check `--model`.",
                )
        try:
            variables = Variables(weights)
            self._table, self._positions = variables[_TABLE], variables[_POSITIONS]
            self._hear = self._open(audio, variables)
            self._write = self._open(text, variables)
            self._check_names()
            variables.drop_pages()
            trim_heap()
            facts = self._write.get_modelmeta().custom_metadata_map
            self.texts = tuple(facts.get("words", "").split("\n"))
            self.words = tuple(map(word_of, self.texts))
            if len(self.words) != len(self._table):
                raise self._misfit(f"{len(self.words)} words for {len(self._table)} tokens")
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        self._hear = self._write = None
        self._forget()
        trim_heap()
        self._table = self._positions = np.empty((0, 0), np.float32)
        self.texts = self.words = ()

    def warm_up(self, max_samples: int) -> None:
        """Touch what the longest window and the longest text need."""
        self._listen(np.zeros(max_samples, np.float32))
        most = int(max_samples / RATE_HZ * MAX_TOKENS_PER_S) + SLACK_TOKENS
        self._n_written = min(self.max_tokens, most + len(self._prompt)) - 1
        for name, value in self._past.items():
            heads, _, width = value.shape()
            self._past[name] = _value(np.zeros((heads, self._n_written, width), np.float32))
        self.step(_PROMPT[0])
        self._forget()

    def expect(self, words: Sequence[str]) -> None:
        """Spell `words` so where they fit. Raises InputError if it cannot or they are too many."""
        self.hotwords = Hotwords(words, self.texts) if words else None

    @property
    def _prompt(self) -> tuple[int, ...]:
        return _PROMPT if self.hotwords is None else (_PREVIOUS, *self.hotwords.ids, *_PROMPT)

    @property
    def max_tokens(self) -> int:
        """Tokens that the decoder has places for."""
        return len(self._positions)

    def read(self, audio: NDArray[np.float32]) -> list[Step]:
        """What `audio` [S] says, one step for each token; attention over its own frames only."""
        if self._hear is None:
            raise ModelError("The reader is closed.", cure="Call load() first.")
        duration_s = len(audio) / RATE_HZ
        self._listen(audio)
        self._n_frames = max(1, int(duration_s / FRAME_S))
        prompt = self._prompt
        try:
            return read(
                self if self.hotwords is None else Expecting(self, self.hotwords),
                prompt,
                _END,
                duration_s=duration_s,
                frame_s=FRAME_S,
                max_tokens=self.max_tokens - len(prompt),
            )
        finally:
            self._forget()

    def step(self, token: int) -> Step:
        """What may follow `token`, after all tokens of this sound before it."""
        embedded = self._table[token].astype(np.float32)
        embedded = embedded + self._positions[self._n_written].astype(np.float32)
        inputs = {"embedded": _value(embedded[None, None]), **self._past, **self._memory}
        present = [f"present_{part}" for part in self._parts]
        tokens, beliefs, looks, *kept = self._run(self._write, [*_STEP, *present], inputs)
        self._past = {f"past_{part}": value for part, value in zip(self._parts, kept, strict=True)}
        self._n_written += 1
        step = Step(tokens.numpy(), beliefs.numpy(), looks.numpy()[:, : self._n_frames])
        if not len(step.tokens) or step.tokens.shape != step.beliefs.shape:
            raise self._misfit("tokens and beliefs of different sizes")
        if not 0 <= step.tokens.min() <= step.tokens.max() < len(self.words):
            raise self._misfit(f"tokens beyond its {len(self.words)} words")
        if not ((step.beliefs > -0.01) & (step.beliefs < 1.01)).all():
            raise self._misfit("beliefs that lie outside 0 to 1")
        if not np.isfinite(step.looks).all():
            raise self._misfit("attention that is no number")
        return step

    def _listen(self, audio: NDArray[np.float32]) -> None:
        if len(audio) > MAX_S * RATE_HZ:
            raise ModelError(
                f"The reader takes {MAX_S:g} s of sound, not {len(audio) / RATE_HZ:.1f}.",
                cure="Mend max_audio_s in model.toml.",
            )
        names = [f"memory_{part}" for part in self._parts]
        kept = self._run(self._hear, names, {"audio": _value(audio[None])})
        self._memory = dict(zip(names, kept, strict=True))
        heads, self._n_frames, width = kept[0].shape()
        none = _value(np.zeros((heads, 0, width), np.float32))
        self._past = {f"past_{part}": none for part in self._parts}
        self._n_written = 0

    def _forget(self) -> None:
        self._memory, self._past = {}, {}

    def _run(self, session: Any, outputs: list[str], inputs: dict[str, Any]) -> list[Any]:
        try:
            found: list[Any] = session.run_with_ort_values(outputs, inputs)
        except Exception as error:  # onnxruntime's own errors share no usable base class
            raise self._misfit(f"a graph that failed: {first_line(error)}") from None
        return found

    def _check_names(self) -> None:
        """Keys and values are named alike on both sides."""
        given = [item.name for item in self._hear.get_outputs()]
        self._parts = tuple(name.removeprefix("memory_") for name in given)
        wanted = {"embedded", *given, *(f"past_{part}" for part in self._parts)}
        results = {*_STEP, *(f"present_{part}" for part in self._parts)}
        if (
            not given
            or [item.name for item in self._hear.get_inputs()] != ["audio"]
            or {item.name for item in self._write.get_inputs()} != wanted
            or {item.name for item in self._write.get_outputs()} != results
        ):
            raise self._misfit("other inputs or outputs than a reader")

    def _open(self, path: Path, variables: Variables) -> Any:
        try:
            places = outside_places(path)
        except (ValueError, OSError) as error:
            raise ModelError(
                f"{path} is not a usable ONNX graph: {error}.",
                cure="Fetch it again or check the path.",
            ) from None
        return open_session(
            path,
            threads=self.threads,
            provider=self.provider,
            weights=fill(variables, places),
        )

    def _misfit(self, what: str) -> ModelError:
        return ModelError(
            f"The reader {self.paths[1]} has {what}.",
            cure="Take the graphs and weights of one catalog entry.",
        )


def _value(array: NDArray[np.float32]) -> Any:
    import onnxruntime as ort

    return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
