#!/usr/bin/env python3
"""Write the test clip (synthesised by flite) and the default encoder's embeddings of it.

Run it when the default model's encoder changes; the clip is only made anew with --clip.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr

from edge_audiokv.encoder.onnx import OnnxEncoder
from edge_audiokv.models import catalog

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"
SENTENCE = "The old man walked slowly down the road to the river."


def make_clip(path: Path) -> None:
    """`SENTENCE` spoken by flite's voice slt, 16 kHz mono."""
    with tempfile.TemporaryDirectory() as scratch:
        wav = Path(scratch) / "flite.wav"
        subprocess.run(["flite", "-voice", "slt", "-t", SENTENCE, "-o", str(wav)], check=True)
        audio, rate = soundfile.read(wav, dtype="float32")
    soundfile.write(path, soxr.resample(audio, rate, 16000), 16000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", action="store_true", help="make the clip anew (needs flite)")
    args = parser.parse_args()
    DATA.mkdir(parents=True, exist_ok=True)
    clip = DATA / "clip.flac"
    if args.clip:
        make_clip(clip)
    entry = catalog.resolve()
    path = entry.directory / "encoder.onnx"
    audio, _ = soundfile.read(clip, dtype="float32")
    with OnnxEncoder(path, d_model=entry.d_model, warm_up=False) as encoder:
        rows = encoder.encode(audio)
    np.savez_compressed(
        DATA / "encoder_golden.npz",
        embeddings=rows.astype(np.float16),
        encoder_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    print(f"{clip.name}: {len(audio) / 16000:.2f} s, embeddings {rows.shape}")


if __name__ == "__main__":
    main()
