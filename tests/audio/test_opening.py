from __future__ import annotations

import io

import numpy as np
import pytest

from edge_audiokv.audio.files.file import FileSource, read_all
from edge_audiokv.audio.files.pcm import PcmSource
from edge_audiokv.audio.live.pacing import Paced
from edge_audiokv.audio.opening import make_source
from edge_audiokv.errors import InputError


def test_names_choose_the_source(clips):
    assert isinstance(make_source(clips["harbour"]), FileSource)
    assert isinstance(make_source("x.raw", raw="s16le:16000"), PcmSource)
    assert isinstance(make_source("-", raw="s16le:16000", stdin=io.BytesIO()), PcmSource)
    assert isinstance(make_source(clips["harbour"], realtime=True), Paced)
    with pytest.raises(InputError, match="not a raw format"):
        make_source("x.raw", raw="nonsense")


def test_a_sound_file_through_a_pipe(clips):
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    with make_source("-", stdin=Pipe(clips["letter"].read_bytes())) as source:
        pieces = []
        while (piece := source.read(16_000)) is not None:
            pieces.append(piece)
    np.testing.assert_array_equal(np.concatenate(pieces), read_all(clips["letter"]))


@pytest.mark.parametrize(("data", "says"), [(b"", "is empty"), (b"words " * 99, "is not audio")])
def test_bad_pipes(data, says):
    source = make_source("-", stdin=io.BytesIO(data))
    with pytest.raises(InputError, match=f"standard input {says}") as told:
        source.open()
    # What has no header is never heard by itself.
    assert ("--raw s16le:16000" in told.value.cure) == bool(data)
    source.close()


def test_a_closed_standard_input_is_told(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    for raw in (None, "s16le:16000"):
        with pytest.raises(InputError, match="closed"):
            make_source("-", raw=raw)
