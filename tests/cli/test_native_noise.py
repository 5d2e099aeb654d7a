"""Decoders that talk: standard output holds the result alone, and one line says what they said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("local_model")]

_HEADER_BYTES, _BLOCK_BYTES = 21, 127


@pytest.fixture
def noisy(spoken, tmp_path) -> Path:
    """A MIDI sample dump whose every block has a wrong mark: libsndfile prints a line for each."""
    path = tmp_path / "noisy.sds"
    soundfile.write(str(path), spoken["letter"].samples, 16000, format="SDS", subtype="PCM_16")
    data = bytearray(path.read_bytes())
    for at in range(_HEADER_BYTES + 1, len(data) - _BLOCK_BYTES, _BLOCK_BYTES):
        data[at] ^= 1
    path.write_bytes(data)
    return path


def test_libsndfile_prints_for_this_file(command, noisy) -> None:
    code = f"import soundfile; soundfile.read({str(noisy)!r})"
    assert command.python("-c", code).out.count("Error") > 100


def test_results_are_alone_and_noise_is_one_warning(command, noisy, spoken) -> None:
    quiet = command("transcribe", spoken["letter"].path)
    ran = command("transcribe", noisy)
    assert ran.code == 0 and ran.out == quiet.out and ran.out.strip()
    (line,) = ran.err.splitlines()
    assert line.startswith(f"warning: {noisy} says: Error")


def test_standard_output_by_its_path_is_standard_output(command, noisy) -> None:
    ran = command("transcribe", noisy, "-f", "json", "-o", "/dev/stdout")
    assert ran.code == 0 and json.loads(ran.out)["segments"]
