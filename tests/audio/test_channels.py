"""Two channels to one when their mean is worse than either of them, and floats on other scales."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from edge_audiokv.audio.channels import Mixer
from edge_audiokv.audio.files.file import FileSource
from edge_audiokv.audio.files.pcm import PcmSource
from edge_audiokv.audio.resample import to_mono
from edge_audiokv.audio.scale import FloatScale


def mixed(frames, block=16_000):
    mixer = Mixer()
    pieces = [mixer.mix(frames[at : at + block]) for at in range(0, len(frames), block)]
    return np.concatenate(pieces), mixer.take_notes()


def heard(source):
    pieces = []
    with source:
        while (piece := source.read(16_000)) is not None:
            pieces.append(piece)
        return np.concatenate(pieces), [event.message for event in source.take_events()]


@pytest.mark.parametrize("block", [1_600, 16_000])
def test_channels_that_cancel_each_other(speech, block):
    for gain in (0.95, 0.8):
        sound, notes = mixed(np.stack([gain * speech, -speech], axis=1), block)
        spoken = np.abs(speech) > 0.05
        np.testing.assert_allclose(sound[spoken], -speech[spoken], atol=1e-6)
        assert len(notes) == 1 and "cancel" in notes[0] and "channel 2" in notes[0]


def test_a_channel_that_only_hisses(speech):
    noise = np.random.default_rng(3).normal(0, 0.3, 3 * len(speech)).astype(np.float32)
    frames = np.stack([np.clip(noise, -1, 1), np.tile(speech, 3)], axis=1)
    sound, notes = mixed(frames)
    assert len(notes) == 1 and "channel 1 is a steady noise" in notes[0]
    np.testing.assert_array_equal(sound[-len(speech) :], speech)


def test_all_other_channels_stay_their_mean(speech, tone):
    noise = np.random.default_rng(3).normal(0, 0.01, len(speech)).astype(np.float32)
    other = np.roll(speech, 30_000)
    pairs = [
        (speech, speech),
        (speech, 0.3 * speech),
        (speech, np.zeros_like(speech)),
        (speech, other),
        (speech + noise, speech + noise[::-1]),
        (np.zeros_like(speech), np.zeros_like(speech)),
        (noise, noise[::-1].copy()),
    ]
    for pair in pairs:
        frames = np.tile(np.stack(pair, axis=1), (3, 1))
        sound, notes = mixed(frames)
        assert notes == []
        np.testing.assert_array_equal(sound, to_mono(frames))
    surround = np.zeros((len(speech), 6), np.float32)
    surround[:, 2] = speech
    assert mixed(surround)[1] == []


def test_cancellation_is_told_of_files_and_pipes(speech):
    frames = np.stack([speech, -speech], axis=1)
    memory = io.BytesIO()
    soundfile.write(memory, frames, 16_000, format="FLAC")
    memory.seek(0)
    sound, warnings = heard(FileSource(memory))
    assert np.abs(sound - speech).max() < 1e-3 and "cancel" in warnings[0]
    raw = io.BytesIO(frames.astype("<f4").tobytes())
    sound, warnings = heard(PcmSource(raw, "f32le:16000:2"))
    assert np.sqrt(np.mean(sound**2)) > 0.02 and "cancel" in warnings[0]


@pytest.mark.parametrize("full_scale", [2.0**15, 2.0**23, 2.0**31])
def test_floats_on_the_scale_of_integers(speech, full_scale):
    quiet_start = np.concatenate([np.full(20_000, 1e-5, np.float32), speech])
    memory = io.BytesIO()
    soundfile.write(memory, quiet_start * full_scale, 16_000, format="WAV", subtype="FLOAT")
    memory.seek(0)
    sound, warnings = heard(FileSource(memory))
    np.testing.assert_allclose(sound, quiet_start, atol=1e-4)
    assert len(warnings) == 1 and f"divided by {full_scale:.0f}" in warnings[0]
    raw = io.BytesIO((speech * full_scale).astype("<f4").tobytes())
    sound, warnings = heard(PcmSource(raw, "f32le:16000"))
    np.testing.assert_allclose(sound[4_000:], speech[4_000:], atol=1e-4)
    assert len(warnings) == 1


def test_loud_floats_and_single_wild_samples_are_on_no_other_scale(speech):
    for frames in (10 * speech, np.where(np.arange(len(speech)) % 1000, speech, 1e6)):
        scale = FloatScale()
        assert scale.apply(frames.astype(np.float32)[:, None]) is not None
        assert not scale.found and scale.take_notes() == []
