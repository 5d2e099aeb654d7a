"""Raw bytes through files, pipes and sockets, in pieces that split frames."""

from __future__ import annotations

import io
import os
import socket

import numpy as np
import pytest

from edge_audiokv.audio.files.pcm import PcmFormat, PcmSource
from edge_audiokv.errors import InputError


def drain(source):
    pieces = []
    with source:
        while (piece := source.read()) is not None:
            pieces.append(piece)
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def encoded(sound, encoding):
    kinds = {
        "s16le": ("<i2", 32767),
        "s16be": (">i2", 32767),
        "s32le": ("<i4", 2147483647),
        "f32le": ("<f4", 1),
    }
    kind, scale = kinds[encoding]
    return (sound.astype(np.float64) * scale).astype(kind).tobytes()


@pytest.mark.parametrize("encoding", ["s16le", "s16be", "s32le", "f32le"])
def test_every_encoding(tone, encoding):
    sound = tone(16_000, 0.5)
    heard = drain(PcmSource(io.BytesIO(encoded(sound, encoding)), f"{encoding}:16000"))
    np.testing.assert_allclose(heard, sound, atol=1e-4)


def test_rate_and_channels(tone):
    stereo = np.stack([tone(48_000, 1.0), tone(48_000, 1.0)], 1)
    heard = drain(PcmSource(io.BytesIO(encoded(stereo, "f32le")), "f32le:48000:2"))
    assert len(heard) == 16_000
    assert np.abs(heard[2_000:14_000] - tone(16_000, 1.0)[2_000:14_000]).max() < 2e-3


def test_a_path_is_opened_and_closed(tmp_path, tone):
    path = tmp_path / "sound.raw"
    path.write_bytes(encoded(tone(16_000, 0.5), "s16le"))
    source = PcmSource(path, "s16le:16000")
    assert len(drain(source)) == len(drain(source)) == 8_000
    with pytest.raises(InputError, match="There is no file"):
        PcmSource(tmp_path / "none", "s16le:16000").open()


def test_a_pipe_is_live_an_empty_read_is_no_end():
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as stream, PcmSource(stream, "s16le:16000", wait_s=0) as source:
        assert source.realtime
        assert len(source.read()) == 0
        os.write(write_end, b"\x00\x40\x00")  # one frame and half of the next
        np.testing.assert_array_equal(source.read(), np.float32([0.5]))
        assert len(source.read()) == 0
        os.write(write_end, b"\x40")
        np.testing.assert_array_equal(source.read(), np.float32([0.5]))
        assert source.clock_s == 2 / 16_000
        os.close(write_end)
        assert source.read() is None
        assert source.read() is None


def test_a_socket_in_odd_pieces(tone):
    ours, theirs = socket.socketpair()
    data = encoded(tone(16_000, 0.2), "s16le")
    with ours, theirs.makefile("rb") as stream, theirs:
        source = PcmSource(stream, "s16le:16000")
        for first in range(0, len(data), 37):
            ours.sendall(data[first : first + 37])
        ours.shutdown(socket.SHUT_WR)
        heard = drain(source)
    np.testing.assert_allclose(heard, tone(16_000, 0.2), atol=1e-4)


def test_a_broken_last_frame_is_told():
    source = PcmSource(io.BytesIO(b"\x00\x40\x00"), "s16le:16000")
    assert len(drain(source)) == 1
    assert "no whole frame" in source.take_events()[0].message


def test_nan_in_float_input_becomes_silence():
    source = PcmSource(io.BytesIO(np.float32([0.5, np.nan, np.inf]).tobytes()), "f32le:16000")
    np.testing.assert_array_equal(drain(source), np.float32([0.5, 0, 0]))


def test_empty_input_ends_at_once():
    assert len(drain(PcmSource(io.BytesIO(b""), "s16le:16000"))) == 0


@pytest.mark.parametrize("text", ["", "s16le", "mp3:16000", "s16le:x", "s16le:16000:1:1"])
def test_formats_that_make_no_sense(text):
    with pytest.raises(InputError, match=r"Write ENCODING:RATE"):
        PcmFormat.parse(text)


@pytest.mark.parametrize("text", ["s16le:0", "s16le:16000:0", "s16le:16000:65", "s16le:9999999"])
def test_formats_out_of_range(text):
    with pytest.raises(InputError, match="out of range"):
        PcmFormat.parse(text)


def test_format_sizes():
    assert PcmFormat.parse("S16LE:44100:2") == PcmFormat("s16le", 44_100, 2)
    assert PcmFormat("f32le", 16_000, 3).frame_bytes == 12
