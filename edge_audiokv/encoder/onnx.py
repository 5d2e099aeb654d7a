"""An encoder that is one ONNX graph: audio [1, S] -> embeddings [1, T, d_model].

It may also tell the likeliest words of each row: outputs `words` int32 and `beliefs` float32, both
[1, T, K], and the vocabulary in its metadata as `words`, a line each.

The graph holds everything from the waveform to the LLM's embedding space. Its memory is constant
after `load()`: the arena grows by what is asked and no more, the longest window is encoded once,
and every later length fits into that, but for some MB that are counted from the start. With
onnxruntime's own defaults it went on growing, by two thirds at windows of 15 s.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil
from numpy.typing import NDArray

from ..errors import ModelError
from ..models.token_rule import TokenRule
from .base import Encoder
from .outside import check_outside_data
from .session import first_line, open_session, trim_heap
from .sound import Sound

# Windows that are encoded in `load()`, as shares of the longest. Shorter ones cut the arena up in
# other ways, which costs some MB more; encoding them all here would be most of every start.
_WARM_UP_SHARES = (1.0, 0.3, 0.15)
# What other lengths will cost, as a share of what windows take: 10 of 117 MB (30 s), 10 of 96 (20).
_CUT_UP_SHARE = 0.1

DEFAULT_RULE = TokenRule()


class OnnxEncoder(Encoder):
    """Runs `path` through onnxruntime.

    `threads` bounds the pool. `provider` is cpu, cuda, tensorrt or coreml; the latter three fall
    back to cpu for operators they lack. `warm_up` encodes the longest window and some shorter ones
    in `load()`, so that the peak is touched, and known, before anything depends on it.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        d_model: int,
        rule: TokenRule = DEFAULT_RULE,
        max_window_s: float = 30.0,
        threads: int = 1,
        provider: str = "cpu",
        warm_up: bool = True,
    ) -> None:
        super().__init__(d_model=d_model, rule=rule, max_window_s=max_window_s)
        self.path = Path(path)
        self.threads = max(1, threads)
        self.provider = provider
        self.warm_up = warm_up
        self._session: Any = None
        self._input = ""
        self._words: tuple[str, ...] = ()
        self._nbytes = 0
        self._later_bytes = 0

    def load(self) -> Self:
        """Read the graph and check its input, width and token rate.

        Raises ModelError if the file is missing, damaged or of another shape, and
        MissingExtraError if this onnxruntime lacks the provider.
        """
        if self._session is not None:
            return self
        if not self.path.is_file():
            raise ModelError(
                f"The encoder {self.path} is missing.",
                cure="Run `edge-audiokv models pull`, or check `--model`.",
            )
        before_bytes = _rss_bytes()
        try:
            self._session = self._open_session()
            trim_heap()
            try:
                self._input = self._checked_input()
                self._words = self._vocabulary()
            except UnicodeDecodeError:
                raise self._misfit("names or metadata that are no UTF-8 text") from None
            self._encode_window(self._silence(0))
            opened_bytes = self._nbytes = max(0, _rss_bytes() - before_bytes)
            if self.warm_up:
                for share in _WARM_UP_SHARES:
                    self._encode_window(self._silence(share))
                self._nbytes = max(0, _rss_bytes() - before_bytes)
                self._later_bytes = int(max(0, self._nbytes - opened_bytes) * _CUT_UP_SHARE)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        if self._session is not None and self._nbytes:
            self._shrink_arena()
        self._session = None
        self._nbytes = self._later_bytes = 0
        trim_heap()

    def _shrink_arena(self) -> None:
        """Let the process's arena give back the longest window's memory."""
        import onnxruntime as ort

        options = ort.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        with contextlib.suppress(Exception):  # closing goes on whatever this meets
            self._session.run(None, {self._input: self._silence(0)[None]}, options)

    def _silence(self, share: float) -> NDArray[np.float32]:
        """As many whole units as make up `share` of the longest window, at least one."""
        unit = self.rule.unit_samples
        n_units = max(1, int(self.max_window_samples // unit * share))
        return np.zeros(n_units * unit, np.float32)

    @property
    def nbytes(self) -> int:
        """Growth of the process's resident memory in `load()`: weights and the longest window.

        The arena keeps that window's memory for the ones to come. Without `warm_up` it is left out.
        Opening the graph needs about 110 MB for a moment, less than the windows do later.
        """
        return self._nbytes

    @property
    def later_bytes(self) -> int:
        """What windows of other lengths will add to `nbytes`, by experience."""
        return self._later_bytes

    def _open_session(self) -> Any:
        check_outside_data(self.path)
        return open_session(self.path, threads=self.threads, provider=self.provider)

    def _checked_input(self) -> str:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        names = [output.name for output in outputs]
        if len(inputs) != 1 or (len(names) != 1 and names[1:] != ["words", "beliefs"]):
            raise self._misfit(
                f"{len(inputs)} inputs and {len(names)} outputs, not one and one"
                " (or words and beliefs beside it)"
            )
        shape, kind = inputs[0].shape, inputs[0].type
        if kind != "tensor(float)" or len(shape) != 2:
            raise self._misfit(f"an input {kind} {shape}, not float audio [1, samples]")
        width = outputs[0].shape[-1] if outputs[0].shape else None
        if isinstance(width, int) and width != self.d_model:
            raise self._misfit(f"embeddings of width {width}; the LLM needs {self.d_model}")
        return str(inputs[0].name)

    @property
    def words(self) -> tuple[str, ...]:
        return self._words

    def _vocabulary(self) -> tuple[str, ...]:
        if len(self._session.get_outputs()) == 1:
            return ()
        text = self._session.get_modelmeta().custom_metadata_map.get("words", "")
        if not text:
            raise self._misfit("an output of words, and no vocabulary in its metadata")
        return tuple(text.split("\n"))

    def _encode_window(self, audio: NDArray[np.float32]) -> Sound:
        if self._session is None:
            raise ModelError("The encoder is closed.", cure="Call load() first.")
        try:
            output, *others = self._session.run(None, {self._input: audio[None]})
        except Exception as error:  # as above
            raise self._misfit(f"a graph that failed: {first_line(error)}") from None
        for result in (output, *others):
            if not isinstance(result, np.ndarray) or result.dtype.kind not in "fiu":
                raise self._misfit("outputs that are not numbers")
        if any(other.ndim != 3 for other in others):
            raise self._misfit("words or beliefs that are not [1, T, K]")
        if output.ndim != 3 or output.shape[2] != self.d_model:
            raise self._misfit(
                f"embeddings of shape {list(output.shape)}; the LLM needs [1, T, {self.d_model}]"
            )
        n_tokens = output.shape[1]
        if not self.rule.fits(n_tokens, len(audio)):
            expected = self.rule.graph_rows(len(audio))
            raise self._misfit(f"{n_tokens} tokens for {expected} expected")
        embeddings = np.ascontiguousarray(output[0], dtype=np.float32)
        if not np.isfinite(embeddings).all():
            raise self._misfit("embeddings that are not numbers")
        if not others:
            return Sound.of(embeddings)
        words, beliefs = (np.ascontiguousarray(other[0]) for other in others)
        if words.shape != beliefs.shape or words.shape[0] != n_tokens:
            raise self._misfit(
                f"words of shape {list(words.shape)} and beliefs of {list(beliefs.shape)}"
                f" for {n_tokens} tokens"
            )
        if words.size and not 0 <= words.min() <= words.max() < max(1, len(self._words)):
            raise self._misfit(f"words beyond its vocabulary of {len(self._words)}")
        if not ((beliefs > -0.01) & (beliefs < 1.01)).all():
            raise self._misfit("beliefs in its words that lie outside 0 to 1")
        return Sound(embeddings, words.astype(np.int32), beliefs.astype(np.float32))

    def _misfit(self, what: str) -> ModelError:
        return ModelError(
            f"The encoder {self.path} has {what}.",
            cure="Take the encoder that was trained for this LLM, or mend model.toml.",
        )


def _rss_bytes() -> int:
    return int(psutil.Process().memory_info().rss)
