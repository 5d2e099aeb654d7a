"""Sound in any form that a program holds it in."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.audio.array import ArraySource
from edge_audiokv.audio.intake import Intake
from edge_audiokv.audio.sound import as_source
from edge_audiokv.audio.source import AudioSource
from edge_audiokv.errors import InputError

TONE = (0.3 * np.sin(np.arange(20_000) / 7)).astype(np.float32)
INT16 = (TONE * 32767).astype(np.int16)


def read_all(source: AudioSource) -> np.ndarray:
    pieces = []
    with source:
        while (samples := source.read(1_600)) is not None:
            assert len(samples) <= 1_600
            pieces.append(samples)
    return np.concatenate(pieces)


def test_every_holder_of_one_sound_gives_the_same(tmp_path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, INT16, 16_000)
    for sound in (INT16, INT16.tobytes(), str(path), path, io.BytesIO(path.read_bytes())):
        np.testing.assert_array_equal(read_all(as_source(sound)), INT16 / np.float32(32768))


def test_an_array_keeps_its_rate_and_can_be_read_again() -> None:
    source = ArraySource(np.repeat(INT16, 3), 48_000)
    first = read_all(source)
    assert len(first) == len(INT16)
    np.testing.assert_array_equal(read_all(source), first)


def test_what_is_no_sound_is_refused() -> None:
    with pytest.raises(InputError, match="no source of sound"):
        as_source(17)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="shape"), as_source(np.zeros((2, 2, 2), np.float32)):
        pass


def test_half_a_sample_at_the_very_end_is_told() -> None:
    source = as_source(INT16.tobytes() + b"x")
    with source:
        count = 0
        while (samples := source.read(16_000)) is not None:
            count += len(samples)
        (event,) = source.take_events()
    assert count == len(INT16) and "half" in event.message


@given(st.lists(st.integers(0, 40_000), max_size=12))
def test_bytes_are_joined_wherever_they_are_cut(cuts: list[int]) -> None:
    data = INT16.tobytes()
    edges = [0, *sorted(cuts), len(data)]
    intake = Intake()
    pieces = [
        samples
        for start, stop in itertools.pairwise(edges)
        for samples in intake.pieces(data[start:stop])
    ]
    pieces.append(intake.flush())
    np.testing.assert_array_equal(np.concatenate(pieces), INT16 / np.float32(32768))
    assert not intake.leftover() and not intake.complaints()


def test_an_array_after_half_a_sample_is_told_and_a_refusal_loses_nothing() -> None:
    intake = Intake()
    list(intake.pieces(b"\1"))
    with pytest.raises(InputError):
        list(intake.pieces(np.zeros(4, np.uint8)))
    assert intake.leftover()
    list(intake.pieces(INT16))
    assert not intake.leftover() and "within a 16-bit sample" in intake.complaints()[0]
