"""M4A, WebM, MKV and the like through PyAV: whole, at their positions, and nothing else opened."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_audiokv.audio.files.containers import container_format
from edge_audiokv.audio.files.file import FileSource
from edge_audiokv.errors import InputError, MissingExtraError

from . import av_files


def heard(file):
    pieces = []
    with FileSource(file) as source:
        while (piece := source.read(4_000)) is not None:
            pieces.append(piece)
            assert source.nbytes <= 64_000
        return np.concatenate(pieces), [event.message for event in source.take_events()]


def likeness(first, second):
    """The greatest correlation over all shifts: encoders have delays."""
    n = 2 * max(len(first), len(second))
    spectrum = np.fft.rfft(first, n) * np.conj(np.fft.rfft(second, n))
    return np.fft.irfft(spectrum).max() / np.sqrt((first**2).sum() * (second**2).sum())


@pytest.mark.parametrize("name", av_files.CONTAINERS)
def test_reads_every_container(tmp_path, speech, name):
    data = av_files.encode(speech, name)
    path = tmp_path / f"speech.{name}"
    path.write_bytes(data)
    sound, warnings = heard(path)
    assert warnings == [] and abs(len(sound) - len(speech)) < 0.15 * 16_000
    assert likeness(sound, speech) > 0.9
    np.testing.assert_array_equal(heard(io.BytesIO(data))[0], sound)


def test_stereo_at_another_rate(tone):
    both = np.stack([tone(44_100, 1.0)] * 2, axis=1)
    sound, _ = heard(io.BytesIO(av_files.encode(both, "m4a", rate_hz=44_100)))
    assert abs(len(sound) - 16_000) < 1_600 and likeness(sound, tone(16_000, 1.0)) > 0.9


@pytest.mark.parametrize("name", ["m4a", "mka", "webm", "wma", "ts"])
def test_a_gap_in_the_positions_is_silence_and_told(speech, name):
    whole, _ = heard(io.BytesIO(av_files.encode(speech, name)))
    sound, warnings = heard(io.BytesIO(av_files.encode(speech, name, skip=(2.0, 4.0))))
    assert len(sound) - len(whole) == pytest.approx(4 * 16_000, abs=800)
    assert len(warnings) == 1 and "4.0 s are missing in one place" in warnings[0]
    np.testing.assert_allclose(sound[-16_000:], whole[-16_000:], atol=0.05)


def test_positions_that_jump_by_days_make_no_hours_of_silence(speech):
    data = av_files.encode(speech, "mka", skip=(2.0, 90_000.0))
    sound, _ = heard(io.BytesIO(data))
    assert abs(len(sound) - len(speech)) < 0.2 * 16_000


def test_without_pyav_the_cure_is_told(tmp_path, speech, monkeypatch):
    path = tmp_path / "speech.m4a"
    path.write_bytes(av_files.encode(speech, "m4a"))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"MP4.*edge-audiokv\[av\].*ffmpeg"):
        FileSource(path).open()


@pytest.mark.parametrize("name", ["m4a", "mka", "webm", "aac"])
def test_cut_and_damaged_containers_end_in_words(speech, name):
    data = av_files.encode(speech, name)
    random = np.random.default_rng(7)
    for _ in range(30):
        broken = bytearray(data[: random.integers(16, len(data))])
        for at in random.integers(0, len(broken), 10):
            broken[at] = random.integers(256)
        try:
            heard(io.BytesIO(bytes(broken)))
        except InputError as error:
            assert "\n" not in str(error)


def test_a_playlist_is_no_container(tmp_path, clips):
    for text in (
        f"ffconcat version 1.0\nfile {clips['harbour']}\n",
        f"#EXTM3U\n#EXTINF:1,\nfile://{clips['harbour']}\n",
        f"v=0\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n{clips['harbour']}\n",
    ):
        path = tmp_path / "list.m4a"
        path.write_text(text)
        with pytest.raises(InputError, match="not audio that can be read"):
            FileSource(path).open()
    assert container_format(b"#EXTM3U\n" + bytes(400)) is None


def test_pyav_is_imported_only_when_it_is_wanted(clips):
    script = (
        "import sys; from edge_audiokv.audio.files.file import read_all\n"
        f"read_all({str(clips['harbour'])!r})\n"
        "assert 'av' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_film_without_sound(tmp_path):
    import av

    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for packet in (*stream.encode(av.VideoFrame(32, 32, "yuv420p")), *stream.encode(None)):
            container.mux(packet)
    with pytest.raises(InputError, match="holds no sound"):
        heard(io.BytesIO(memory.getvalue()))


def test_libsndfile_keeps_what_it_reads(clips, tmp_path):
    path = Path(tmp_path / "misnamed.m4a")
    samples, rate_hz = soundfile.read(clips["harbour"], dtype="float32")
    soundfile.write(path, samples, rate_hz, format="FLAC")
    np.testing.assert_allclose(heard(path)[0], samples, atol=1e-4)
