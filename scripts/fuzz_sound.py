"""Damage sound files of every format and read them as a person would: nothing may end the process.

    python scripts/fuzz_sound.py --cases 10000 --seed 0 --jobs 2

Each case changes bytes, numbers or pages of a small file, cuts it, or joins it with another, and
reads it to its end with `FileSource`: through libsndfile, and through PyAV where that is installed.
A signal is a fault, and so are a hang, an exception that is not one of ours, samples that are not
finite or beyond full scale, more sound than any such file could hold, and more than 300 MB.
`--seed S --cases 1` runs that case alone.
"""

from __future__ import annotations

import io
import os
import random
import resource
import struct
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soundfile

# Behind the installed package, which is the one that has the native library.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from edge_audiokv.audio.files.file import FileSource
from edge_audiokv.errors import EdgeAudioKVError
from edge_audiokv.kv.memory import rss_bytes
from scripts.fuzzing import options, run

CLIP = Path(__file__).resolve().parents[1] / "tests" / "data" / "clip.flac"
FORMATS = (
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "FLOAT"),
    ("WAV", "MS_ADPCM"),
    ("WAVEX", "PCM_16"),
    ("RF64", "PCM_16"),
    ("W64", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("AU", "ULAW"),
    ("CAF", "ALAC_16"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
)
NUMBERS = (0, 1, 2, 3, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
MAX_SOUND_S = 3 * 3600.0
MAX_BYTES = 300 << 20
READ_SAMPLES = 16_000


def main() -> None:
    # What a decoder writes about damage would bury the line of progress.
    given = options(__doc__ or "", timeout_s=60)
    run(given, read_all)


def sound_files() -> list[bytes]:
    """A second of speech in every format that can be written here."""
    speech, rate_hz = soundfile.read(CLIP, dtype="float32")
    speech = speech[: 2 * rate_hz]
    stereo = np.stack([speech, np.roll(speech, 100)], axis=1)
    made = []
    for kind, subtype in FORMATS:
        for frames in (speech, stereo):
            memory = io.BytesIO()
            soundfile.write(memory, frames, rate_hz, format=kind, subtype=subtype)
            made.append(memory.getvalue())
    if find_spec("av") is not None:
        from tests.audio.files import av_files

        made += [av_files.encode(speech, name) for name in av_files.CONTAINERS]
    return made


def damaged(draw: random.Random, files: list[bytes]) -> bytes:
    """A file with one to four changes, most of them near its start."""
    changed = bytearray(draw.choice(files))
    for _ in range(draw.choice((1, 1, 2, 3, 4))):
        near = draw.choice((64, 256, 2048, len(changed)))
        at = draw.randrange(max(1, min(near, len(changed))))
        match draw.randrange(9):
            case 0 | 1:
                form = draw.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
                number = draw.choice((*NUMBERS, draw.getrandbits(32)))
                data = struct.pack(form, number % (1 << (8 * struct.calcsize(form))))
                changed[at : at + len(data)] = data
            case 2:
                changed[at : at + 1] = bytes([draw.randrange(256)])
            case 3:
                changed[at : at + 1] = bytes([changed[at] ^ (1 << draw.randrange(8))])
            case 4:
                del changed[draw.randrange(len(changed)) :]
            case 5:
                del changed[at : at + draw.choice((1, 2, 4, 188, 4096))]
            case 6:
                changed[at:at] = draw.randbytes(draw.choice((1, 4, 64, 4096)))
            case 7:
                changed += draw.choice(files)
            case _:
                length = draw.randrange(1, 1000)
                changed[at : at + length] = draw.randbytes(length)
        changed = changed or bytearray(b"R")
    return bytes(changed)


def read_all(seeds: range) -> Iterator[int]:
    """Read one damaged file for each seed, yielding the seed before."""
    # Not even a decoder that believes a length may take this much.
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    files = sound_files()
    quiet = os.open(os.devnull, os.O_WRONLY)
    spoken = os.dup(2)
    os.dup2(quiet, 2)
    at_start = rss_bytes()
    try:
        for seed in seeds:
            yield seed
            draw = random.Random(seed)
            read(damaged(draw, files), draw.choice((READ_SAMPLES, 1600, 100_000)), at_start)
    except BaseException:
        os.dup2(spoken, 2)
        raise


def read(data: bytes, step_samples: int, at_start: int) -> None:
    """The whole way of a file; raises AssertionError for what may not be."""
    try:
        with FileSource(io.BytesIO(data), name="case") as source:
            while (samples := source.read(step_samples)) is not None:
                loud = float(np.abs(samples).max()) if len(samples) else 0.0
                # The resampler's filter may pass full scale a little.
                if not loud <= 4.0:
                    raise AssertionError(f"samples reach {loud}")
                if source.clock_s > MAX_SOUND_S:
                    raise AssertionError(f"{source.clock_s:.0f} s of sound in {len(data)} bytes")
            for event in source.take_events():
                event.to_json()
    except EdgeAudioKVError as error:
        if "\n" in str(error):
            raise AssertionError(f"{error!r} is no line") from None
    taken = rss_bytes() - at_start
    if taken > MAX_BYTES:
        raise AssertionError(f"{taken >> 20} MB were taken")


if __name__ == "__main__":
    main()
