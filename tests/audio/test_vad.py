"""The real Silero weights on real speech, noise and silence."""

from __future__ import annotations

import numpy as np
import pytest

from edge_audiokv.audio.vad import FRAME_SAMPLES, VoiceDetector
from edge_audiokv.errors import ModelError


def frames_of(sound):
    count = len(sound) // FRAME_SAMPLES
    return np.ascontiguousarray(sound[: count * FRAME_SAMPLES].reshape(count, FRAME_SAMPLES))


@pytest.fixture
def detector():
    made = VoiceDetector().load()
    yield made
    made.close()


def test_speech_is_speech(detector, speech):
    probabilities = detector.probabilities(frames_of(speech))
    assert probabilities.dtype == np.float32
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert np.mean(probabilities[10:-10] > 0.5) > 0.8


@pytest.mark.parametrize("kind", ["silence", "white noise", "hum", "clicks"])
def test_other_sounds_are_not(detector, kind, tone):
    rng = np.random.default_rng(0)
    clicks = np.zeros(64_000, np.float32)
    clicks[::8_000] = 0.9
    sounds = {
        "silence": np.zeros(64_000, np.float32),
        "white noise": rng.normal(0, 0.05, 64_000).astype(np.float32),
        "hum": tone(16_000, 4.0, 50.0),
        "clicks": clicks,
    }
    assert np.mean(detector.probabilities(frames_of(sounds[kind])) > 0.5) < 0.05


def test_one_frame_at_a_time_equals_a_block(detector, speech):
    frames = frames_of(speech)
    block = detector.probabilities(frames)
    detector.reset()
    singles = np.concatenate([detector.probabilities(frame[None]) for frame in frames])
    np.testing.assert_array_equal(singles, block)


def test_reset_forgets(detector, speech):
    frames = frames_of(speech)
    first = detector.probabilities(frames)
    assert not np.array_equal(detector.probabilities(frames), first)
    detector.reset()
    np.testing.assert_array_equal(detector.probabilities(frames), first)


def test_life_cycle_and_bytes():
    detector = VoiceDetector()
    assert detector.nbytes == 0
    detector.load()
    assert 1_000_000 < detector.nbytes < 20_000_000
    detector.close()
    detector.close()
    assert detector.nbytes == 0


def test_wrong_shape_is_refused(detector):
    with pytest.raises(ValueError, match="512"):
        detector.probabilities(np.zeros((2, 400), np.float32))


def test_missing_and_damaged_weights(tmp_path):
    with pytest.raises(ModelError, match="cannot be loaded"):
        VoiceDetector(tmp_path / "none.onnx").load()
    (tmp_path / "bad.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelError, match="cannot be loaded"):
        VoiceDetector(tmp_path / "bad.onnx").load()
