"""An ONNX encoder that also shows tensors from inside its graph, such as what its projector reads.

Names lie in the graph's own description, which the `onnx` package reads; that package adds them to
the outputs of a copy in memory, and the file stays as it is.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.audio.files.file import read_all
from edge_audiokv.encoder.onnx import OnnxEncoder
from edge_audiokv.encoder.outside import check_outside_data
from edge_audiokv.encoder.session import PROVIDERS, first_line
from edge_audiokv.errors import InputError, MissingExtraError, ModelError
from edge_audiokv.models.token_rule import TokenRule

OUTPUT = "output"


class InnerEncoder(OnnxEncoder):
    """`tensors` are names of float tensors [1, T, D] of the graph. Needs the extra `eval`."""

    def __init__(
        self,
        path: Path,
        *,
        d_model: int,
        rule: TokenRule,
        tensors: Sequence[str] = (),
        max_window_s: float = 30.0,
        threads: int = 1,
    ) -> None:
        super().__init__(
            path,
            d_model=d_model,
            rule=rule,
            max_window_s=max_window_s,
            threads=threads,
            warm_up=False,
        )
        self.tensors = tuple(dict.fromkeys(tensors))

    def pooled(self, audio: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """Means over time of the output's rows and of each tensor, float64 [D], of `audio` [S].

        Raises InputError for no sound, or a tensor that is no [1, T, D].
        """
        sums: dict[str, NDArray[np.float64]] = {}
        counts: dict[str, int] = {}
        for sound in self.windows(audio):
            found: dict[str, NDArray[np.generic]] = {OUTPUT: sound.embeddings}
            if self.tensors:
                inner = self._session.inner
                found |= {name: _rows(name, rows) for name, rows in inner.items()}
            for name, rows in found.items():
                sums[name] = sums.get(name, 0.0) + rows.sum(0, dtype=np.float64)
                counts[name] = counts.get(name, 0) + len(rows)
        if not sums:
            raise InputError("There is no sound in it.", cure="Leave the clip out.")
        return {name: total / counts[name] for name, total in sums.items()}

    def _open_session(self) -> Any:
        if not self.tensors:
            return super()._open_session()
        check_outside_data(self.path)
        return _WithInner(self.path, self.tensors, threads=self.threads)


def pool(
    encoder: InnerEncoder, clips: Sequence[Path], on_clip: Callable[[str], None]
) -> dict[str, NDArray[np.float64]]:
    """Means over time [N, D] of N clips, by name. Raises InputError with the clip."""
    rows: dict[str, list[NDArray[np.float64]]] = {}
    for clip in clips:
        try:
            pooled = encoder.pooled(read_all(clip))
        except InputError as error:
            raise InputError(f"{clip}: {error.what}", cure=error.cure) from None
        for name, row in pooled.items():
            rows.setdefault(name, []).append(row)
        on_clip(clip.name)
    return {name: np.array(found) for name, found in rows.items()}


class _WithInner:
    """A session that answers as the file's own would, and keeps what was asked for beside it."""

    def __init__(self, path: Path, tensors: Sequence[str], *, threads: int) -> None:
        import onnxruntime as ort

        graph = Graph(path)
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(path.resolve().parent)
        )
        data = graph.with_outputs(tensors)
        try:
            self._session = ort.InferenceSession(data, options, providers=[PROVIDERS["cpu"]])
        except Exception as error:  # onnxruntime's own errors share no usable base class
            raise ModelError(
                f"{path} with more outputs is refused: {first_line(error)}.",
                cure="Name tensors of another place of the graph.",
            ) from None
        self._n_own = graph.n_outputs
        self._tensors = tuple(tensors)
        self.inner: dict[str, NDArray[np.generic]] = {}

    def get_inputs(self) -> Any:
        return self._session.get_inputs()

    def get_outputs(self) -> Any:
        return self._session.get_outputs()[: self._n_own]

    def get_modelmeta(self) -> Any:
        return self._session.get_modelmeta()

    def run(self, names: None, feeds: dict[str, Any], *more: Any) -> list[Any]:
        results: list[Any] = self._session.run(names, feeds, *more)
        self.inner = dict(zip(self._tensors, results[self._n_own :], strict=True))
        return results[: self._n_own]


class Graph:
    """The description of an ONNX file; weights outside it stay where they are."""

    def __init__(self, path: Path) -> None:
        try:
            import onnx
        except ImportError:
            raise MissingExtraError(
                "Looking into a graph needs onnx.", cure="Run `pip install 'edge-audiokv[eval]'`."
            ) from None
        self.path = path
        try:
            self._model = onnx.load(str(path), load_external_data=False)
        except Exception as error:  # of protobuf, whose errors share no usable base class
            raise ModelError(
                f"{path} is not a usable ONNX encoder: {first_line(error)}.",
                cure="Fetch it again or check the path.",
            ) from None

    @property
    def n_outputs(self) -> int:
        return len(self._model.graph.output)

    @property
    def width(self) -> int:
        """D of the first output [1, T, D]. Raises ModelError if the graph does not say it."""
        outputs = self._model.graph.output
        sizes = outputs[0].type.tensor_type.shape.dim if outputs else ()
        if not sizes or not sizes[-1].dim_value:
            raise ModelError(
                f"{self.path} does not say how wide its rows are.",
                cure="Give the model's folder or name instead: its model.toml says it.",
            )
        return int(sizes[-1].dim_value)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of all tensors that nodes give, in the graph's order."""
        return tuple(name for node in self._model.graph.node for name in node.output if name)

    def with_outputs(self, tensors: Sequence[str]) -> bytes:
        """The file with these outputs beside its own. Raises InputError for unknown names."""
        import onnx

        known = set(self.names)
        for name in tensors:
            if name not in known:
                close = difflib.get_close_matches(name, self.names, n=3, cutoff=0.4)
                raise InputError(
                    f"{self.path.name} has no tensor {name!r}.",
                    cure=f"Near to it: {', '.join(close)}." if close else "Look at it in Netron.",
                )
        copy = onnx.ModelProto()
        copy.CopyFrom(self._model)
        copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
        data: bytes = copy.SerializeToString()
        return data


def _rows(name: str, found: Any) -> NDArray[np.generic]:
    usable = isinstance(found, np.ndarray) and found.dtype.kind == "f" and found.ndim == 3
    if not usable or found.shape[0] != 1 or not found.shape[1]:
        shape = list(getattr(found, "shape", ()))
        raise InputError(
            f"The tensor {name!r} of shape {shape} is no rows [1, T, D].",
            cure="Name one that holds a row for each step of time.",
        )
    if not np.isfinite(found).all():
        raise InputError(f"The tensor {name!r} holds no numbers.", cure="Name another one.")
    rows: NDArray[np.generic] = found[0]
    return rows
