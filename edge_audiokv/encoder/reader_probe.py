"""Try a reader in a process of its own, as `probe.py` does with an encoder.

python -m edge_audiokv.encoder.reader_probe AUDIO.onnx TEXT.onnx WEIGHTS.bin
"""

from __future__ import annotations

import sys
from pathlib import Path

from ..models.fingerprint import fingerprint
from ..models.tried import answer, has_passed, remember, run_child
from .probe import reason_of, runtime_name

_HEARD_S = 2.0


def check_reader_in_child(paths: tuple[Path, Path, Path]) -> None:
    """Raise ModelError if reading ends a process, hangs, or is refused."""
    name = ":".join([runtime_name(), "reader", *map(fingerprint, paths)])
    if has_passed(name):
        return
    run_child(
        "edge_audiokv.encoder.reader_probe",
        [str(path) for path in paths],
        paths[1],
        kind="reader",
        reason=reason_of,
    )
    remember(name)


def try_out(paths: tuple[Path, Path, Path]) -> None:
    """What the child does: load, and read noise and silence. Raises ModelError."""
    import numpy as np

    from .reader import RATE_HZ, WhisperReader

    with WhisperReader(*paths) as reader:
        noise = np.random.default_rng(0).normal(0, 0.3, int(_HEARD_S * RATE_HZ))
        for audio in (noise, np.zeros_like(noise)):
            reader.read(audio.astype(np.float32))


if __name__ == "__main__":
    _audio, _text, _weights = map(Path, sys.argv[1:])
    sys.exit(answer([_weights], lambda: try_out((_audio, _text, _weights))))
