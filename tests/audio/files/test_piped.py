"""Sound files through a pipe while they are being made: heard as they come, nothing on disk."""

from __future__ import annotations

import io
import os
import struct
import sys
import tempfile
import threading
import time

import numpy as np
import pytest
import soundfile

from edge_audiokv.audio.files.piped import LivePipe
from edge_audiokv.audio.opening import PipedFileSource, make_source
from edge_audiokv.errors import InputError, MissingExtraError

from . import av_files

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="select() and pipes"),
    pytest.mark.alone,
]


@pytest.fixture
def pipe():
    """A LivePipe, and the end that a sender writes to."""
    read_end, write_end = os.pipe()
    with (
        os.fdopen(read_end, "rb") as stream,
        os.fdopen(write_end, "wb", buffering=0) as sender,
        make_source("-", stdin=stream, live=True) as source,
    ):
        assert isinstance(source, LivePipe) and source.realtime
        yield source, sender


def wav(samples, subtype="PCM_16", rate_hz=16_000, data_bytes=None):
    memory = io.BytesIO()
    soundfile.write(memory, samples, rate_hz, format="WAV", subtype=subtype)
    data = bytearray(memory.getvalue())
    if data_bytes is not None:
        at = data.index(b"data") + 4
        struct.pack_into("<I", data, at, data_bytes)
        struct.pack_into("<I", data, 4, min(data_bytes + 36, 0xFFFFFFFF))
    return bytes(data)


def send(sender, data):
    """Write all, in a thread, for a pipe holds little; closes the pipe."""

    def work():
        sender.write(data)
        sender.close()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def drain(source):
    pieces = []
    while (piece := source.read(1600)) is not None:
        pieces.append(piece)
    return np.concatenate(pieces), [event.message for event in source.take_events()]


def read_until(source, n_samples):
    pieces, count, deadline = [], 0, time.monotonic() + 30
    while count < n_samples and time.monotonic() < deadline:
        pieces.append(source.read(1600))
        count += len(pieces[-1])
    return np.concatenate(pieces)


@pytest.mark.parametrize("placeholder", [0, 0xFFFFFFFF, 0x80000000, 2_000_000_000])
def test_wav_is_heard_before_the_pipe_closes(pipe, speech, placeholder):
    source, sender = pipe
    data = wav(speech, data_bytes=placeholder)
    assert len(source.read()) == 0
    # A header in pieces, and a sample that is cut in two.
    for piece in (data[:3], data[3:30], data[30:47], data[47:20_044]):
        sender.write(piece)
        source.read(1)
    heard = read_until(source, 9_996)
    assert len(heard) >= 9_990
    assert len(source.read()) == 0
    thread = send(sender, data[20_044:])
    rest, warnings = drain(source)
    thread.join()
    assert len(heard) + len(rest) == pytest.approx(len(speech), abs=8) and warnings == []


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"])
def test_every_layout_of_wav(pipe, tone, subtype):
    source, sender = pipe
    both = np.stack([tone(48_000, 1.0)] * 2, axis=1)
    thread = send(sender, wav(both, subtype, 48_000))
    heard, _ = drain(source)
    thread.join()
    assert len(heard) == 16_000
    near = 0.02 if subtype == "PCM_U8" else 2e-3
    assert np.abs(heard[2_000:14_000] - tone(16_000, 1.0)[2_000:14_000]).max() < near


def test_wav_files_one_after_the_other(pipe, speech):
    source, sender = pipe
    thread = send(sender, wav(speech) + wav(speech[::2], rate_hz=8_000))
    heard, warnings = drain(source)
    thread.join()
    assert len(heard) == pytest.approx(2 * len(speech), abs=20) and warnings == []


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"RIFF", "ended before any sound"),
        (b"words, and no sound at all " * 40, "of an unknown format"),
        (wav(np.zeros(500, np.float32), "ALAW"), "kind 6"),
    ],
)
def test_what_cannot_be_heard_is_refused(pipe, data, says):
    source, sender = pipe
    thread = send(sender, data)
    with pytest.raises(InputError, match=says):
        drain(source)
    thread.join()


CODED = [("FLAC", "PCM_16"), ("OGG", "OPUS"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")]


@pytest.mark.parametrize(("kind", "subtype"), CODED)
def test_coded_sound_is_heard_as_it_comes(pipe, speech, kind, subtype):
    source, sender = pipe
    memory = io.BytesIO()
    soundfile.write(memory, np.tile(speech, 5), 16_000, format=kind, subtype=subtype)
    data = memory.getvalue()
    half, heard_some = len(data) // 2, threading.Event()

    def work():
        sender.write(data[:half])
        assert heard_some.wait(60)
        sender.write(data[half:])
        sender.close()

    thread = threading.Thread(target=work)
    thread.start()
    assert len(read_until(source, len(speech))) >= len(speech)
    heard_some.set()
    drain(source)
    thread.join()
    assert source.clock_s == pytest.approx(5 * len(speech) / 16_000, abs=0.2)


def test_a_container_is_heard_as_it_comes(pipe, speech):
    source, sender = pipe
    thread = send(sender, av_files.encode(speech, "webm"))
    heard, _ = drain(source)
    thread.join()
    assert len(heard) == pytest.approx(len(speech), abs=2_000)


def test_a_closed_source_ends_its_thread(pipe, speech):
    source, sender = pipe
    memory = io.BytesIO()
    soundfile.write(memory, speech, 16_000, format="FLAC")
    sender.write(memory.getvalue()[:30_000])
    source.read()
    source.close()
    assert not any(thread.name == "decoder" for thread in threading.enumerate())


def test_without_pyav_the_cure_is_told(pipe, monkeypatch):
    source, sender = pipe
    monkeypatch.setitem(sys.modules, "av", None)
    sender.write(b"fLaC" + bytes(2000))
    with pytest.raises(MissingExtraError, match=r"FLAC.*edge-audiokv\[av\]"):
        read_until(source, 1)


def test_nothing_is_kept_on_disk_and_little_in_memory(pipe, monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", None)
    source, sender = pipe
    minutes = np.zeros(16_000 * 300, np.float32)
    thread = send(sender, wav(minutes, data_bytes=0x7FFFFFFF))
    held = 0
    while (piece := source.read(1600)) is not None:
        held = max(held, len(piece), source._inner.nbytes if source._inner else 0)
    thread.join()
    assert source.clock_s == 300 and held < 100_000


def test_a_file_as_standard_input_is_not_copied(clips, monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", None)
    with clips["harbour"].open("rb") as stream, make_source("-", stdin=stream) as source:
        assert isinstance(source, PipedFileSource)
        assert source.duration_s > 3 and len(source.read()) == 1600


def test_the_copy_on_disk_is_bounded(monkeypatch):
    monkeypatch.setattr("edge_audiokv.audio.opening._MAX_SPOOL_BYTES", 1 << 21)
    with pytest.raises(InputError, match="is longer than"):
        make_source("-", stdin=io.BytesIO(bytes(1 << 22))).open()
