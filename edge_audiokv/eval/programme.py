"""A day of sound for a listening session: real speech in turns, with silence, noise and music.

The programme is made of blocks. Each is seeded by itself; every second one and the last repeat the
first, sound for sound, so that word error rates at a session's begin and end differ by its age and
by nothing else. Only the piece being played is in memory: the process is measured while it plays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_audiokv.audio.files.file import FileSource, read_all
from edge_audiokv.audio.source import SAMPLE_RATE_HZ, Samples
from edge_audiokv.errors import InputError
from edge_audiokv.eval.wer import Utterance

KINDS = ("silence", "noise", "music")
_KIND_SHARES = (0.5, 0.25, 0.25)
_MAX_TURN_CLIPS = 4
_ROOM_TONE = 10 ** (-65 / 20)
_REST_S = 1.2  # of room tone around every pause: a turn ends before the noise starts
_BACKGROUND_SHARE, _BACKGROUND_SNR_DB = 0.25, 20.0
_PIECE_S = 10.0
_CHORDS_HZ = ((220.0, 277.18, 329.63), (196.0, 246.94, 293.66), (174.61, 220.0, 261.63))


@dataclass(frozen=True)
class Piece:
    """A stretch of sound, float32 [S] at 16 kHz. Speech has its words in `text`.

    `turn` counts the turns of speech; -1 for what is not speech. `last` ends a turn or a pause.
    """

    kind: str
    samples: Samples
    text: str = ""
    turn: int = -1
    last: bool = False


@dataclass(frozen=True)
class _Clip:
    """What will be said, and the pause after it; nothing is read yet."""

    utterance: Utterance
    gap_samples: int
    backed: bool
    seed: int

    @property
    def most_samples(self) -> int:
        """At 16 kHz, gap included, with room for a resampler's rounding."""
        with FileSource(self.utterance.path) as source:
            return int((source.duration_s + 0.1) * SAMPLE_RATE_HZ) + self.gap_samples


class Programme:
    """`duration_s` of sound in `n_blocks` blocks of equal length.

    `speech_share` is the share of the time that somebody speaks, in (0, 0.8]. `noises` are sound
    files; without them noise is synthesised. Music always is.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        *,
        duration_s: float,
        noises: Sequence[Path] = (),
        speech_share: float = 0.4,
        seed: int = 0,
    ) -> None:
        if not utterances:
            raise InputError("There is no speech to play.", cure="Give a manifest with clips.")
        if not 0 < speech_share <= 0.8:
            raise InputError(f"A speech share of {speech_share} is not in (0, 0.8].")
        self.utterances, self.noises = list(utterances), list(noises)
        self.duration_s, self.speech_share, self.seed = duration_s, speech_share, seed
        self.n_blocks = max(2, round(duration_s / 3600))
        self._turn = 0

    @property
    def block_s(self) -> float:
        """Length of one block: an hour, or half of a shorter programme."""
        return self.duration_s / self.n_blocks

    def repeats(self, block: int) -> bool:
        """Does `block` sound like the first?"""
        return block % 2 == 0 or block == self.n_blocks - 1

    def pieces(self) -> Iterator[Piece]:
        """Everything in order; the lengths add up to `duration_s`."""
        self._turn = 0
        for block in range(self.n_blocks):
            again = 0 if self.repeats(block) else block
            yield from self._block(np.random.default_rng((self.seed, again)))

    def _block(self, rng: np.random.Generator) -> Iterator[Piece]:
        left = int(self.block_s * SAMPLE_RATE_HZ)
        while True:
            turn = self._turn_of(rng)
            most = sum(clip.most_samples for clip in turn)
            if most + 2 * _REST_S * SAMPLE_RATE_HZ > left:
                break
            spoken = 0
            for index, clip in enumerate(turn):
                piece = self._spoken(clip, last=index == len(turn) - 1)
                spoken += len(piece.samples)
                yield piece
                del piece
            self._turn += 1
            left -= spoken
            wanted = spoken * (1 - self.speech_share) / self.speech_share * rng.uniform(0.5, 1.5)
            for piece in self._pause(rng, min(left, int(wanted + 2 * _REST_S * SAMPLE_RATE_HZ))):
                left -= len(piece.samples)
                yield piece
        yield from _parts("silence", lambda n: _room_tone(rng, n), left)

    def _turn_of(self, rng: np.random.Generator) -> list[_Clip]:
        """One to four clips that follow each other in the manifest, by one speaker."""
        start = int(rng.integers(len(self.utterances)))
        clips = self.utterances[start : start + int(rng.integers(1, _MAX_TURN_CLIPS + 1))]
        backed = bool(rng.random() < _BACKGROUND_SHARE)
        return [
            _Clip(clip, int(gap_s * SAMPLE_RATE_HZ), backed, seed=int(rng.integers(2**32)))
            for clip, gap_s in zip(clips, rng.uniform(0.2, 0.7, len(clips)), strict=True)
            if clip.speaker == clips[0].speaker
        ]

    def _spoken(self, clip: _Clip, *, last: bool) -> Piece:
        rng = np.random.default_rng(clip.seed)
        samples = read_all(clip.utterance.path)
        if clip.backed:
            samples = _mixed(samples, self._noise(rng, len(samples)))
        sound = np.concatenate([samples, _room_tone(rng, clip.gap_samples)])
        return Piece("speech", sound, clip.utterance.text, self._turn, last)

    def _pause(self, rng: np.random.Generator, n_samples: int) -> Iterator[Piece]:
        rest = min(n_samples // 2, int(_REST_S * SAMPLE_RATE_HZ))
        kind = str(rng.choice(KINDS, p=_KIND_SHARES))
        yield Piece("silence", _room_tone(rng, rest))
        make = {
            "silence": lambda n: _room_tone(rng, n),
            "noise": lambda n: self._noise(rng, n),
            "music": lambda n: _music(rng, n),
        }[kind]
        yield from _parts(kind, make, n_samples - 2 * rest)
        yield Piece("silence", _room_tone(rng, rest), last=True)

    def _noise(self, rng: np.random.Generator, n_samples: int) -> Samples:
        if not self.noises:
            return _coloured(rng, n_samples)
        path = self.noises[int(rng.integers(len(self.noises)))]
        clip = read_all(path)
        return np.resize(clip, n_samples) if len(clip) else _coloured(rng, n_samples)


def noise_files(directory: Path) -> list[Path]:
    """Sound files below `directory`, in order. Raises InputError if there is none."""
    suffixes = {".wav", ".flac", ".ogg", ".opus", ".mp3"}
    paths = sorted(path for path in directory.rglob("*") if path.suffix.lower() in suffixes)
    if not paths:
        raise InputError(f"There is no sound file below {directory}.", cure="Check --noise.")
    return paths


def _parts(kind: str, make: object, n_samples: int) -> Iterator[Piece]:
    size = int(_PIECE_S * SAMPLE_RATE_HZ)
    for start in range(0, n_samples, size):
        yield Piece(kind, make(min(size, n_samples - start)))  # type: ignore[operator]


def _room_tone(rng: np.random.Generator, n_samples: int) -> Samples:
    return np.asarray(rng.standard_normal(n_samples, np.float32) * _ROOM_TONE, np.float32)


def _coloured(rng: np.random.Generator, n_samples: int) -> Samples:
    """Noise that falls by 3 dB an octave, with a slow swell, at -30 dBFS."""
    spectrum = np.fft.rfft(rng.standard_normal(max(2, n_samples)))
    spectrum /= np.sqrt(np.arange(len(spectrum)) + 1.0)
    noise = np.fft.irfft(spectrum, max(2, n_samples))[:n_samples]
    swell = 1.0 + 0.5 * np.sin(np.arange(n_samples) / SAMPLE_RATE_HZ * rng.uniform(0.5, 3.0))
    noise = noise * swell / max(1e-9, float(np.std(noise))) * 10 ** (-30 / 20)
    return noise.astype(np.float32)


def _music(rng: np.random.Generator, n_samples: int) -> Samples:
    """Plucked chords, one a half second, at about -20 dBFS."""
    time_s = np.arange(n_samples, dtype=np.float32) / SAMPLE_RATE_HZ
    beat, since = np.divmod(time_s, np.float32(0.5))
    out = np.zeros(n_samples, np.float32)
    chords = rng.integers(len(_CHORDS_HZ), size=int(beat[-1]) + 1 if n_samples else 1)
    for index, chord in enumerate(_CHORDS_HZ):
        playing = (chords[beat.astype(np.int64)] == index) * np.exp(-4.0 * since)
        for pitch_hz in chord:
            for harmonic in (1, 2, 3):
                wave = np.sin(np.float32(2 * np.pi * pitch_hz * harmonic) * since)
                out += (playing * wave / (3 * harmonic)).astype(np.float32)
    return np.asarray(out * np.float32(0.12), np.float32)


def _mixed(speech: Samples, noise: Samples) -> Samples:
    """Speech with noise `_BACKGROUND_SNR_DB` below it."""
    level = float(np.sqrt(np.mean(np.square(speech)) + 1e-12))
    noise_level = float(np.sqrt(np.mean(np.square(noise)) + 1e-12))
    gain = level / noise_level * 10 ** (-_BACKGROUND_SNR_DB / 20)
    return np.asarray(speech + noise * np.float32(gain), np.float32)
