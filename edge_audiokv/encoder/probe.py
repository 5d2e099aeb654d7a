"""Try an ONNX encoder in a process of its own, so that nothing in it can end ours.

onnxruntime checks most of a graph and answers with an error, but not all: a division by a whole
zero, for one, ends the process. So a child loads the file and lets it hear noise and silence, once.

    python -m edge_audiokv.encoder.probe ENCODER.onnx D_MODEL RULE_AS_JSON
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from ..models.fingerprint import fingerprint
from ..models.token_rule import TokenRule
from ..models.tried import answer, has_passed, remember, run_child
from .outside import check_outside_data, outside_places

_HEARD_S = 2.0


def check_in_child(path: Path, *, d_model: int, rule: TokenRule) -> None:
    """Raise ModelError if hearing with the encoder ends a process, hangs, or is refused."""
    facts = [str(d_model), json.dumps(asdict(rule))]
    weights = [fingerprint(path.parent / place) for place in _outside(path)]
    name = ":".join([runtime_name(), fingerprint(path), *weights, *facts])
    if has_passed(name):
        return
    run_child(
        "edge_audiokv.encoder.probe", [str(path), *facts], path, kind="encoder", reason=reason_of
    )
    remember(name)


def try_out(path: Path, d_model: int = 8, rule: TokenRule | None = None) -> None:
    """What the child does: load, and hear. Raises ModelError."""
    import numpy as np

    from .onnx import DEFAULT_RULE, OnnxEncoder

    rule = rule or DEFAULT_RULE
    with OnnxEncoder(
        path, d_model=d_model, rule=rule, max_window_s=_HEARD_S, warm_up=False
    ) as encoder:
        n_samples = int(_HEARD_S * rule.sample_rate_hz)
        noise = np.random.default_rng(0).normal(0, 0.3, n_samples).astype(np.float32)
        for audio in (noise, np.zeros_like(noise), noise[: n_samples // 3]):
            encoder.hear(audio)


def _outside(path: Path) -> list[str]:
    """Files that the graph's weights lie in. Raises ModelError."""
    check_outside_data(path)
    return sorted(set(outside_places(path)))


def runtime_name() -> str:
    """Another onnxruntime may have other faults; importing it only to ask would take memory."""
    spec = find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        return "onnxruntime"
    return f"onnxruntime {spec.origin} {Path(spec.origin).stat().st_mtime_ns}"


def reason_of(_words: str, code: int) -> str:
    how = f"signal {-code}" if code < 0 else f"code {code}"
    return f"onnxruntime ends with {how} on it"


if __name__ == "__main__":
    _path, _d_model, _rule = sys.argv[1:]
    sys.exit(
        answer(
            [Path(_path)],
            lambda: try_out(Path(_path), int(_d_model), TokenRule(**json.loads(_rule))),
        )
    )
