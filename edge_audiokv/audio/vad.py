"""Is somebody speaking? Silero VAD as ONNX, one probability for each 32 ms.

Method: Silero VAD v6 (snakers4/silero-vad, MIT): a short-time transform, four convolutions and
one LSTM. Each frame of 512 samples is seen together with the 64 samples before it.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edge_audiokv.audio.source import Samples
from edge_audiokv.errors import ModelError

FRAME_SAMPLES = 512
_CONTEXT_SAMPLES = 64
_STATE_SHAPE = (1, 1, 128)
# Frames a call: enough to spare Python the work, small enough for a few MB of activations.
_MAX_FRAMES = 128
# onnxruntime's own for this graph and a full block: measured 12.4 MB on x86-64.
_RUNTIME_BYTES = 12 << 20
WEIGHTS_PATH = Path(__file__).parent / "weights" / "silero_vad_16k.onnx"


class Detector(Protocol):
    """What the endpointer needs to know about speech."""

    def probabilities(self, frames: Samples) -> NDArray[np.float32]:
        """float32 [N, 512], in order and without gaps -> probability of speech [N]."""

    def reset(self) -> None:
        """Forget what was heard: the next frame starts a new stream."""


class VoiceDetector:
    """Silero VAD on one thread. One detector serves one stream: it remembers what it heard."""

    def __init__(self, path: Path = WEIGHTS_PATH) -> None:
        self.path = path
        self._session: Any = None
        self._weights_bytes = 0
        self.reset()

    def load(self) -> Self:
        """Read the weights. Loading twice does nothing. ModelError if they cannot be used."""
        if self._session is not None:
            return self
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # The arena keeps its high-water mark for ever; these tensors are small and short-lived.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        try:
            session = onnxruntime.InferenceSession(
                str(self.path), options, providers=["CPUExecutionProvider"]
            )
            self._weights_bytes = self.path.stat().st_size
        except Exception as error:  # onnxruntime's own errors share no base class
            raise ModelError(
                f"The voice detector {self.path} cannot be loaded: {error}.",
                cure="Install edge-audiokv again.",
            ) from None
        names = [item.name for item in session.get_inputs()]
        if names != ["input", "h", "c"]:
            raise ModelError(
                f"{self.path} is not the voice detector that belongs here (inputs {names}).",
                cure="Install edge-audiokv again.",
            )
        self._session = session
        return self

    def twin(self) -> VoiceDetector:
        """A detector for another stream, on the same weights."""
        self.load()
        other = copy.copy(self)
        other.reset()
        return other

    def reset(self) -> None:
        self._h = np.zeros(_STATE_SHAPE, np.float32)
        self._c = np.zeros(_STATE_SHAPE, np.float32)
        self._context = np.zeros(_CONTEXT_SAMPLES, np.float32)

    def probabilities(self, frames: Samples) -> NDArray[np.float32]:
        """float32 [N, 512], in order and without gaps -> probability of speech float32 [N]."""
        if frames.ndim != 2 or frames.shape[1] != FRAME_SAMPLES:
            raise ValueError(f"frames must be [N, {FRAME_SAMPLES}], not {frames.shape}")
        self.load()
        out = np.empty(len(frames), np.float32)
        for first in range(0, len(frames), _MAX_FRAMES):
            block = frames[first : first + _MAX_FRAMES]
            windows = np.empty((len(block), _CONTEXT_SAMPLES + FRAME_SAMPLES), np.float32)
            windows[:, _CONTEXT_SAMPLES:] = block
            windows[0, :_CONTEXT_SAMPLES] = self._context
            windows[1:, :_CONTEXT_SAMPLES] = block[:-1, -_CONTEXT_SAMPLES:]
            self._context = block[-1, -_CONTEXT_SAMPLES:].copy()
            speech, self._h, self._c = self._session.run(
                None, {"input": windows, "h": self._h, "c": self._c}
            )
            out[first : first + len(block)] = speech
        return out

    @property
    def nbytes(self) -> int:
        """Bytes of weights, runtime and the largest call; 0 before `load()` and after `close()`."""
        return 0 if self._session is None else self._weights_bytes + _RUNTIME_BYTES

    def close(self) -> None:
        self._session = None
        self.reset()
