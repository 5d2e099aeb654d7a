"""Measure what an encoder holds, in a process of its own, for `encoder_bytes` in model.toml.

python -m edge_audiokv.encoder.resident ENCODER.onnx D_MODEL RULE_AS_JSON WINDOW_S
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from ..errors import ModelError
from ..models.token_rule import TokenRule

# What `listen` and `transcribe` cut segments to, and somewhat more.
_WINDOWS_S = (15.0, 30.0)
_TIMEOUT_S = 600.0


def measured_bytes(
    path: Path, *, d_model: int, rule: TokenRule, max_window_s: float
) -> tuple[tuple[float, int], ...]:
    """Seconds of the longest window, up to `max_window_s`, and resident bytes with it, rising.

    Seconds for a small encoder, a minute for a large one. Raises ModelError if it cannot be loaded.
    """
    windows = sorted({min(each, max_window_s) for each in (*_WINDOWS_S, max_window_s)})
    held, least = [], 0
    for window_s in windows:
        least = max(least, _measure(path, d_model, rule, window_s))
        held.append((window_s, least))
    return tuple(held)


def _measure(path: Path, d_model: int, rule: TokenRule, window_s: float) -> int:
    facts = [str(path), str(d_model), json.dumps(asdict(rule)), str(window_s)]
    try:
        child = subprocess.run(
            # -P: what lies where we stand is nobody's module.
            [sys.executable, "-P", "-m", "edge_audiokv.encoder.resident", *facts],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        return int(child.stdout.split()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        raise ModelError(
            f"{path} could not be measured: it does not load, or not within {_TIMEOUT_S:.0f} s.",
            cure="Convert it again, with another --encoder-type.",
        ) from None


def _main(path: str, d_model: str, rule: str, window_s: str) -> None:
    from .onnx import OnnxEncoder

    with OnnxEncoder(
        path,
        d_model=int(d_model),
        rule=TokenRule(**json.loads(rule)),
        max_window_s=float(window_s),
    ) as encoder:
        print(encoder.nbytes)


if __name__ == "__main__":
    _main(*sys.argv[1:])
