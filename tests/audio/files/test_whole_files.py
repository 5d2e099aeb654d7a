"""A header is a claim: every file is read to its end, and its times follow its positions."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import soundfile

from edge_audiokv.audio.files.file import FileSource
from edge_audiokv.audio.files.ogg import packet_samples, pages
from edge_audiokv.audio.files.riff import parse_header
from edge_audiokv.errors import InputError

FORMATS = [
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("FLAC", "PCM_16"),
    ("OGG", "OPUS"),
    ("OGG", "VORBIS"),
    ("MP3", "MPEG_LAYER_III"),
]
HEADER_BYTES = 44


def encoded(samples, kind, subtype, rate_hz=16_000):
    memory = io.BytesIO()
    soundfile.write(memory, samples, rate_hz, format=kind, subtype=subtype)
    return memory.getvalue()


def heard(data):
    """All samples and warnings of a file that is given as bytes."""
    pieces = []
    with FileSource(io.BytesIO(data)) as source:
        while (piece := source.read(4_000)) is not None:
            pieces.append(piece)
        return np.concatenate(pieces), [event.message for event in source.take_events()]


def wav(samples, **changes):
    """16-bit mono with other numbers in its header: `data`, `riff`, `align`."""
    data = bytearray(encoded(samples, "WAV", "PCM_16"))
    for name, at, form in (("riff", 4, "<I"), ("data", 40, "<I"), ("align", 32, "<H")):
        if name in changes:
            struct.pack_into(form, data, at, changes[name])
    return bytes(data)


@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
@pytest.mark.parametrize("copies", [1, 2, 3])
def test_files_joined_with_cat_are_read_whole(speech, kind, subtype, copies):
    data = encoded(speech, kind, subtype)
    once, _ = heard(data)
    sound, warnings = heard(data * copies)
    assert len(sound) == copies * len(once) and warnings == []
    np.testing.assert_allclose(sound[-len(once) :], once, atol=1e-4)


def test_links_of_other_rates_and_channels(speech, tone):
    stereo = np.stack([tone(48_000, 1.0)] * 2, axis=1)
    first, second = encoded(speech, "OGG", "OPUS"), encoded(stereo, "OGG", "VORBIS", 48_000)
    sound, warnings = heard(first + second)
    assert len(sound) == pytest.approx(len(speech) + 16_000, abs=20) and warnings == []


def test_mp3_without_a_length_is_no_guess(speech, tone):
    # Silence takes few bytes, speech many: the first frames say little about the number of all.
    samples = np.concatenate([speech, np.zeros(80_000, np.float32), speech])
    data = encoded(samples, "MP3", "MPEG_LAYER_III")
    whole, _ = heard(data)
    mark = max(data.find(b"Xing"), data.find(b"Info"))
    assert mark > 0
    guessed = data[:mark] + b"\0\0\0\0" + data[mark + 4 :]
    assert soundfile.info(io.BytesIO(guessed)).frames < 0.9 * len(whole)
    sound, warnings = heard(guessed)
    assert abs(len(sound) - len(whole)) < 3_000 and warnings == []


def test_flac_without_a_total(speech):
    data = bytearray(encoded(speech, "FLAC", "PCM_16"))
    # The last 36 bits of the second eight bytes of STREAMINFO (RFC 9639, section 8.2).
    data[8 + 13] &= 0xF0
    data[8 + 14 : 8 + 18] = bytes(4)
    sound, warnings = heard(bytes(data))
    assert len(sound) == len(speech) and warnings == []
    with FileSource(io.BytesIO(bytes(data))) as source:
        assert source.duration_s == 0


@pytest.mark.parametrize("riff", [0, 36, 0xFFFFFFFF])
def test_a_header_that_was_never_finished(speech, riff):
    sound, warnings = heard(wav(speech, data=0, riff=riff))
    assert len(sound) == len(speech)
    assert len(warnings) == 1 and "never finished" in warnings[0]


@pytest.mark.parametrize(
    "placeholder", [2_000_000_000, 0x80000000, 0x7FFFFF00, 0x7FFFF000, 0xFFFFFFFE, 0xFFFFFFFF]
)
def test_placeholders_of_a_length_are_no_damage(speech, placeholder):
    sound, warnings = heard(wav(speech, data=placeholder, riff=min(placeholder + 36, 0xFFFFFFFF)))
    assert len(sound) == len(speech) and warnings == []


@pytest.mark.parametrize("align", [0, 1, 4, 6, 65535])
def test_a_wrong_block_align(speech, align):
    sound, warnings = heard(wav(speech, align=align))
    assert len(sound) == len(speech) and warnings == []
    np.testing.assert_allclose(sound, speech, atol=1e-4)


def test_a_header_that_tells_of_too_little(speech):
    sound, warnings = heard(wav(speech, data=32_000, riff=32_036))
    np.testing.assert_allclose(sound, speech, atol=1e-4)
    assert len(warnings) == 1 and "32000 bytes of sound" in warnings[0]


def test_what_follows_the_sound_and_is_none(speech):
    noise = np.random.default_rng(1).bytes(40_000)
    sound, warnings = heard(wav(speech) + noise)
    assert len(sound) == len(speech)
    assert len(warnings) == 1 and "40000 bytes" in warnings[0]
    chunks = (
        b"LIST" + struct.pack("<I", 8) + b"INFOabcd" + b"id3 " + struct.pack("<I", 3) + b"xyz\0"
    )
    for behind in (bytes(4096), chunks, b"TAG" + bytes(125)):
        sound, warnings = heard(wav(speech) + behind)
        assert len(sound) == len(speech) and warnings == []


def test_a_header_alone_is_an_error():
    for data in (wav(np.zeros(0, np.float32)), wav(np.zeros(0, np.float32), data=32_000)):
        with pytest.raises(InputError, match=r"holds no samples|nothing follows"):
            heard(data)


def test_a_header_may_come_byte_by_byte(speech):
    data = wav(speech)
    for count in range(HEADER_BYTES):
        wanted = parse_header(data[:count])
        assert isinstance(wanted, int) and count < wanted <= HEADER_BYTES
    header = parse_header(data[:HEADER_BYTES])
    assert header.data_at == HEADER_BYTES and header.rate_hz == 16_000
    with pytest.raises(ValueError, match="no RIFF"):
        parse_header(b"fLaC" + bytes(20))


@pytest.mark.parametrize(("kind", "subtype"), FORMATS[2:])
def test_behind_a_damaged_place_the_rest_is_heard(speech, kind, subtype):
    data = encoded(np.tile(speech, 4), kind, subtype)
    middle = len(data) // 2
    sound, _ = heard(data[:middle] + b"\x55" * 30 + data[middle + 30 :])
    assert len(sound) > 3.7 * len(speech)


def test_a_cut_flac_is_heard_up_to_the_cut(speech):
    data = encoded(np.tile(speech, 4), "FLAC", "PCM_16")
    sound, warnings = heard(data[: len(data) // 2])
    whole, _ = heard(data)
    # No more is lost than the frame that was cut: 4096 samples.
    shorter, _ = heard(data[: len(data) // 2 - 12_000])
    assert len(shorter) < len(sound) and len(sound) % 4096 == 0
    np.testing.assert_array_equal(sound, whole[: len(sound)])
    assert "cut short" in warnings[0]


def without_pages(data, lost):
    """An Ogg file without the pages whose numbers are in `lost`, or with them damaged."""
    at = [page.at for page in pages(io.BytesIO(data), 0)] + [len(data)]
    return b"".join(data[at[n] : at[n + 1]] for n in range(len(at) - 1) if n not in lost)


@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
def test_lost_pages_of_ogg_become_silence(speech, subtype):
    samples = np.tile(speech, 4)
    data = encoded(samples, "OGG", subtype)
    whole, _ = heard(data)
    n_pages = len(list(pages(io.BytesIO(data), 0)))
    sound, warnings = heard(without_pages(data, range(n_pages // 2, n_pages // 2 + 3)))
    # Vorbis does not say how long its packets are: a guess of a page's length.
    near = 1_600 if subtype == "OPUS" else 8_000
    assert len(sound) == pytest.approx(len(whole), abs=near)
    assert len(warnings) == 1 and "are missing in one place" in warnings[0]
    assert np.abs(sound[-16_000:] - whole[len(whole) - 16_000 :]).mean() < 0.1
    quiet = np.abs(sound[len(sound) // 4 : -len(sound) // 4]).reshape(-1)
    assert (quiet == 0).sum() > 16_000


def test_an_ogg_page_with_flipped_bits_is_a_gap_too(speech):
    data = bytearray(encoded(np.tile(speech, 4), "OGG", "OPUS"))
    data[len(data) // 2] ^= 0xFF
    whole, _ = heard(encoded(np.tile(speech, 4), "OGG", "OPUS"))
    sound, warnings = heard(bytes(data))
    assert len(sound) == pytest.approx(len(whole), abs=1_600) and "missing" in warnings[0]


@pytest.mark.parametrize(
    ("first", "second", "samples"),
    [
        (0 << 3, 0, 480),  # SILK, 10 ms
        (3 << 3, 0, 2880),  # SILK, 60 ms
        (12 << 3, 0, 480),  # hybrid, 10 ms
        (16 << 3, 0, 120),  # CELT, 2.5 ms
        ((31 << 3) | 1, 0, 1920),  # two of 20 ms
        ((31 << 3) | 3, 3, 2880),  # three of 20 ms
    ],
)
def test_how_long_an_opus_packet_is(first, second, samples):
    assert packet_samples(bytes([first, second])) == samples


def test_the_checksum_of_ogg_against_one_bit_by_bit(speech):
    data = encoded(speech, "OGG", "OPUS")
    page = next(pages(io.BytesIO(data), 0))
    raw = bytearray(data[: 27 + len(page.sizes) + len(page.body)])
    claimed = int.from_bytes(raw[22:26], "little")
    raw[22:26] = bytes(4)
    register = 0
    for byte in raw:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1) ^ (0x104C11DB7 if register >> 31 else 0)
    assert register == claimed and zlib.crc32(bytes(raw)) != claimed


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_recording_survives_a_kill(tmp_path, speech, suffix):
    """All that was written, but the FLAC block that is not full yet, is read back."""
    path = tmp_path / f"day.{suffix}"
    source = tmp_path / "speech.npy"
    np.save(source, speech)
    script = (
        "import os, signal, sys; import numpy as np; from pathlib import Path\n"
        "from edge_audiokv.audio.live.monitor import Recorder\n"
        "recorder = Recorder(Path(sys.argv[1])); recorder.open()\n"
        "for piece in np.array_split(np.load(sys.argv[2]), 40): recorder.write(piece)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path, source], check=False)
    assert done.returncode == -9
    sound, warnings = heard(path.read_bytes())
    lost = len(speech) - len(sound)
    assert 0 <= lost < (1 if suffix == "wav" else 2 * 4096) and warnings == []
    np.testing.assert_allclose(sound, speech[: len(sound)], atol=1e-4)
    if suffix == "wav":
        assert soundfile.info(path).frames == len(speech)  # for every other program too
    assert path.stat().st_mode & 0o777 == 0o600
