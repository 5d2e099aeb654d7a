"""Files as people have them: every format, any rate, and everything that can be wrong."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
import soundfile

from edge_audiokv.audio.files.file import FileSource, read_all
from edge_audiokv.errors import InputError
from edge_audiokv.events import Warned


def drain(source, max_samples=1600):
    """All samples and all warnings of an open source."""
    pieces, warnings = [], []
    while (piece := source.read(max_samples)) is not None:
        assert 0 < len(piece) <= max_samples and piece.dtype == np.float32
        pieces.append(piece)
        warnings += source.take_events()
    return np.concatenate(pieces), warnings + source.take_events()


@pytest.mark.parametrize(
    ("suffix", "kind", "subtype"),
    [
        ("wav", "WAV", "PCM_16"),
        ("wav", "WAV", "FLOAT"),
        ("wav", "WAV", "PCM_24"),
        ("flac", "FLAC", "PCM_16"),
        ("ogg", "OGG", "VORBIS"),
        ("opus", "OGG", "OPUS"),
        ("mp3", "MP3", "MPEG_LAYER_III"),
        ("aiff", "AIFF", "PCM_16"),
    ],
)
def test_reads_every_format(tmp_path, speech, suffix, kind, subtype):
    path = tmp_path / f"speech.{suffix}"
    soundfile.write(path, speech, 16_000, format=kind, subtype=subtype)
    with FileSource(path) as source:
        assert source.duration_s == pytest.approx(len(speech) / 16_000, abs=0.1)
        heard, warnings = drain(source)
    assert warnings == []
    assert abs(len(heard) - len(speech)) <= 0.1 * 16_000
    shortest = min(len(heard), len(speech))
    # MP3 starts with the encoder's own delay: compare at the best shift.
    spectrum = np.fft.rfft(heard[:shortest], 2 * shortest)
    spectrum *= np.conj(np.fft.rfft(speech[:shortest], 2 * shortest))
    best = np.fft.irfft(spectrum).max()
    assert best / np.sqrt((heard**2).sum() * (speech**2).sum()) > 0.95


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_becomes_16_khz_mono(tmp_path, tone, rate_hz, channels):
    path = tmp_path / "tone.wav"
    frames = np.repeat(tone(rate_hz, 2.5)[:, None], channels, axis=1)
    soundfile.write(path, frames, rate_hz, subtype="FLOAT")
    heard = read_all(path)
    expected = tone(16_000, 2.5)
    assert abs(len(heard) - len(expected)) <= 2
    middle = slice(2_000, 38_000)
    assert np.abs(heard[middle] - expected[middle]).max() < 2e-3


def test_stereo_is_the_mean_of_both_sides(tmp_path, tone):
    path = tmp_path / "sides.wav"
    left = tone(16_000, 1.0)
    soundfile.write(path, np.stack([left, np.zeros_like(left)], 1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(read_all(path), left / 2, atol=1e-7)


@pytest.mark.parametrize("max_samples", [1, 7, 512, 100_000])
def test_piece_size_does_not_change_the_sound(tmp_path, tone, max_samples):
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(44_100, 0.3), 44_100, subtype="FLOAT")
    with FileSource(path) as source:
        heard, _ = drain(source, max_samples)
        assert source.clock_s == len(heard) / 16_000
    np.testing.assert_array_equal(heard, read_all(path))


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(16_000 * 120, np.int16), 16_000)
    with FileSource(path) as source:
        held = []
        while source.read(1600) is not None:
            held.append(source.nbytes)
    assert max(held) <= 4 * 16_000
    assert source.nbytes == 0


def test_an_open_binary_file_works_too(speech):
    memory = io.BytesIO()
    soundfile.write(memory, speech, 16_000, format="FLAC")
    memory.seek(0)
    np.testing.assert_allclose(read_all(memory), speech, atol=1e-4)


def test_can_be_opened_again(clips):
    source = FileSource(clips["harbour"])
    with source:
        first, _ = drain(source)
    with source:
        second, _ = drain(source)
    np.testing.assert_array_equal(first, second)


def test_reading_a_closed_source_is_an_error(clips):
    with pytest.raises(InputError, match="not open"):
        FileSource(clips["harbour"]).read()


def write_bytes(path, data):
    path.write_bytes(data)
    return path


def text_file(folder):
    return write_bytes(folder / "notes.wav", b"These are words, not sound. " * 50)


def empty_file(folder):
    return write_bytes(folder / "empty.wav", b"")


def header_only(folder):
    soundfile.write(folder / "silent.wav", np.zeros(0, np.float32), 16_000)
    return folder / "silent.wav"


def pipe(folder):
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def wrong_rate(folder):
    soundfile.write(folder / "slow.wav", np.zeros(100, np.float32), 100)
    return folder / "slow.wav"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "none.wav", "There is no file"),
        (lambda folder: folder, "is a directory"),
        (text_file, "is not audio that can be read"),
        (empty_file, r"is empty \(0 bytes\)"),
        (header_only, "holds no samples"),
        (pipe, "is not a regular file"),
        (wrong_rate, "100 Hz is out of range"),
    ],
)
def test_each_bad_file_has_its_own_message(tmp_path, make, says):
    source = FileSource(make(tmp_path))
    with pytest.raises(InputError, match=says) as caught:
        source.open()
    assert "\n" not in str(caught.value)
    source.close()


@pytest.mark.parametrize(("suffix", "subtype"), [("wav", "PCM_16"), ("wav", "FLOAT")])
def test_truncated_wav_is_read_as_far_as_it_goes(tmp_path, speech, suffix, subtype):
    path = tmp_path / f"cut.{suffix}"
    soundfile.write(path, speech, 16_000, subtype=subtype)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with FileSource(path) as source:
        heard, warnings = drain(source)
    np.testing.assert_allclose(heard[:20_000], speech[:20_000], atol=1e-4)
    assert len(heard) == pytest.approx(len(speech) / 2, rel=0.01)
    assert [type(warning) for warning in warnings] == [Warned]
    assert "cut short" in warnings[0].message


@pytest.mark.parametrize(("kind", "subtype"), [("FLAC", "PCM_16"), ("OGG", "OPUS")])
def test_truncated_compressed_file_is_read_as_far_as_it_goes(tmp_path, speech, kind, subtype):
    path = tmp_path / "cut.bin"
    soundfile.write(path, np.tile(speech, 4), 16_000, format=kind, subtype=subtype)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with FileSource(path) as source:
        heard, _ = drain(source)
    assert 0.3 < len(heard) / (4 * len(speech)) < 0.7


def test_truncated_flac_says_so(tmp_path, speech):
    path = tmp_path / "cut.flac"
    soundfile.write(path, np.tile(speech, 4), 16_000)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with FileSource(path) as source:
        _, warnings = drain(source)
    assert "cut short" in warnings[0].message


def test_a_streamed_wav_header_is_no_truncation(tmp_path, speech):
    path = tmp_path / "streamed.wav"
    soundfile.write(path, speech, 16_000, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    with FileSource(path) as source:
        heard, warnings = drain(source)
    assert warnings == [] and len(heard) == len(speech)


def test_a_few_nan_become_silence_with_a_warning(tmp_path, tone):
    path = tmp_path / "nan.wav"
    broken = tone(16_000, 2.0)
    broken[[100, 20_000, 30_000]] = [np.nan, np.inf, -np.inf]
    soundfile.write(path, broken, 16_000, subtype="FLOAT")
    with FileSource(path) as source:
        heard, warnings = drain(source)
    assert np.isfinite(heard).all() and heard[100] == heard[20_000] == 0
    assert "3 NaN or Inf samples" in warnings[0].message


def test_many_nan_are_an_error(tmp_path):
    path = tmp_path / "nan.wav"
    soundfile.write(path, np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    with FileSource(path) as source, pytest.raises(InputError, match="100% NaN"):
        source.read()


def test_clipping_is_noted_and_kept_in_range(tmp_path, tone):
    path = tmp_path / "loud.wav"
    soundfile.write(path, 5 * tone(16_000, 1.0), 16_000, subtype="FLOAT")
    with FileSource(path) as source:
        heard, warnings = drain(source)
    assert np.abs(heard).max() <= 1
    assert "clipped" in warnings[0].message


def test_read_all_has_a_limit(tmp_path):
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(16_000 * 10, np.int16), 16_000)
    with pytest.raises(InputError, match="longer than 5 s"):
        read_all(path, max_duration_s=5)


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_not_text(tmp_path, speech):
    path = tmp_path / os.fsdecode(b"n\xff\xfe.wav")
    soundfile.write(os.fsencode(path), speech, 16_000)
    with FileSource(path) as source:
        heard, _ = drain(source)
    assert len(heard) == len(speech)


def test_a_raw_file_is_told_how_to_be_read(tmp_path):
    path = tmp_path / "sound.raw"
    path.write_bytes(bytes(1000))
    with pytest.raises(InputError, match="--raw s16le:16000"):
        FileSource(path).open()


def test_the_reason_for_damaged_mp3_is_not_that_there_is_no_file(tmp_path):
    path = tmp_path / "noise.mp3"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(InputError) as told:
        FileSource(path).open()
    assert "not audio" in str(told.value) and "exist" not in str(told.value)


def test_many_channels_come_in_shorter_blocks(tmp_path, tone):
    path = tmp_path / "tone.wav"
    soundfile.write(path, np.repeat(tone(96_000, 1.5)[:, None], 64, axis=1), 96_000)
    with FileSource(path) as source:
        heard, warnings = drain(source)
    assert warnings == []
    assert len(heard) == pytest.approx(1.5 * 16_000, abs=16)


@pytest.mark.parametrize("what", [None, 5, np.zeros(10, np.float32)])
def test_what_is_no_file(what):
    with pytest.raises(InputError, match="of the type"):
        FileSource(what).open()
