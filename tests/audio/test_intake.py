"""Sound as other programs hold it, made one thing."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from edge_audiokv.audio.intake import Intake, Pcm, checked_frames, clean
from edge_audiokv.errors import InputError

TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.float32)
INT16 = np.round(TONE * 32768).astype(np.int16)


def push(intake: Intake, pcm: Pcm, rate_hz: int = 16_000) -> np.ndarray:
    return np.concatenate([*intake.pieces(pcm, rate_hz)])


@pytest.mark.parametrize(
    "pcm",
    [
        TONE,
        TONE.astype(np.float64),
        TONE[:, None],
        np.stack([TONE, TONE], axis=1),
        INT16,
        np.stack([INT16, INT16], axis=1),
        (INT16.astype(np.int32) << 16),
        INT16.astype("<i2").tobytes(),
        bytearray(INT16.astype("<i2").tobytes()),
        memoryview(INT16.astype("<i2").tobytes()),
    ],
    ids=["f32", "f64", "S1", "S2", "i16", "i16-stereo", "i32", "bytes", "bytearray", "view"],
)
def test_every_form_of_one_sound_is_the_same(pcm) -> None:
    samples = push(Intake(), pcm)
    assert samples.dtype == np.float32 and samples.shape == TONE.shape
    np.testing.assert_allclose(samples, TONE, atol=1 / 32768)


@pytest.mark.parametrize(
    "pcm",
    [
        b"odd",
        np.zeros((2, 2, 2), np.float32),
        np.zeros((10, 65), np.float32),
        np.zeros((10, 0), np.float32),
        np.float32(1),
        np.zeros(10, np.uint8),
        np.zeros(10, np.complex64),
        np.array(["sound"]),
        np.full(10, 1000.0),
    ],
)
def test_what_is_not_sound_is_refused_with_the_forms_that_are(pcm) -> None:
    with pytest.raises(InputError, match="float32 in"):
        checked_frames(pcm)


@pytest.mark.parametrize("rate_hz", [0, 10, 10**7, 16000.5, True, float("nan"), float("inf")])
def test_rates_that_make_no_sense_are_refused(rate_hz) -> None:
    with pytest.raises(InputError):
        push(Intake(), TONE, rate_hz)


def test_the_rate_stays_until_the_end() -> None:
    intake = Intake()
    push(intake, TONE, 16_000)
    with pytest.raises(InputError, match="16000 to 8000"):
        push(intake, TONE, 8_000)
    intake.flush()
    push(intake, TONE, 8_000)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
def test_nothing_is_lost_between_pieces_or_at_the_end(rate_hz) -> None:
    second = np.sin(2 * np.pi * 300 * np.arange(rate_hz) / rate_hz).astype(np.float32)
    whole = Intake()
    expected = np.concatenate([push(whole, second, rate_hz), whole.flush()])
    assert abs(len(expected) - 16_000) <= 2
    pieces = Intake()
    parts = [push(pieces, part, rate_hz) for part in np.array_split(second, 37)]
    np.testing.assert_allclose(np.concatenate([*parts, pieces.flush()]), expected, atol=1e-5)


def test_broken_samples_become_silence_and_are_told_once() -> None:
    intake = Intake()
    broken = TONE.copy()
    broken[100:110] = [np.nan, np.inf, -np.inf, np.nan, 0, 0, 0, 0, 0, 0]
    samples = push(intake, broken)
    assert np.isfinite(samples).all() and not samples[100:104].any()
    assert ["NaN" in text for text in intake.complaints()] == [True]
    push(intake, broken)
    assert intake.complaints() == []


def test_clipping_is_told_once_with_its_share() -> None:
    intake = Intake()
    push(intake, np.clip(10 * TONE, -1, 1))
    (text,) = intake.complaints()
    assert "clipped" in text and "%" in text
    assert intake.complaints() == []


def test_healthy_sound_gives_no_complaint_and_is_not_copied() -> None:
    intake = Intake()
    push(intake, TONE)
    assert intake.complaints() == []
    assert clean(TONE) is TONE


def test_an_empty_piece_is_fine() -> None:
    assert len(push(Intake(), np.zeros(0, np.float32))) == 0
    assert len(push(Intake(), b"")) == 0
    assert len(Intake().flush()) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_long_sound_takes_no_more_memory_than_a_second_of_it(dtype) -> None:
    """Sound by the hour must not pass the cap that the planner has set."""
    long = np.zeros(600 * 16_000, dtype)
    second_bytes = 16_000 * 8
    n_samples = 0
    tracemalloc.start()
    try:
        for piece in Intake().pieces(long):
            n_samples += len(piece)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert n_samples == len(long)
    assert peak_bytes < 4 * second_bytes


def test_sound_in_many_pieces_is_the_same_sound() -> None:
    stereo = np.stack([np.tile(TONE, 3), np.tile(-TONE, 3)], axis=1)[:40_001] + 0.25
    samples = push(Intake(), stereo)
    assert len(list(Intake().pieces(stereo))) == 3
    np.testing.assert_allclose(samples, stereo.mean(axis=1), atol=1e-6)


def test_a_bad_number_late_in_long_sound_is_refused_before_any_of_it_is_heard() -> None:
    loud = np.zeros(50_000, np.float32)
    loud[-1] = 300
    with pytest.raises(InputError, match="reach 300"):
        Intake().pieces(loud)
