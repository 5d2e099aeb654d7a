"""The programme of a soak: exact length, the wanted share of speech, blocks that repeat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_audiokv.audio.source import SAMPLE_RATE_HZ
from edge_audiokv.errors import InputError
from edge_audiokv.eval.programme import Piece, Programme, noise_files
from edge_audiokv.eval.wer import read_manifest

MANIFEST = Path(__file__).parents[1] / "data" / "manifest.jsonl"
CLIPS = read_manifest(MANIFEST)


def blocks(programme: Programme) -> list[list[Piece]]:
    out: list[list[Piece]] = [[] for _ in range(programme.n_blocks)]
    heard = 0
    for piece in programme.pieces():
        out[int(heard / SAMPLE_RATE_HZ / programme.block_s)].append(piece)
        heard += len(piece.samples)
    return out


def test_lengths_add_up_and_the_share_is_kept() -> None:
    pieces = list(Programme(CLIPS, duration_s=1200, speech_share=0.3).pieces())
    total = sum(len(piece.samples) for piece in pieces)
    spoken = sum(len(piece.samples) for piece in pieces if piece.kind == "speech")
    assert total == 1200 * SAMPLE_RATE_HZ
    assert spoken / total == pytest.approx(0.3, abs=0.06)
    assert {piece.kind for piece in pieces} == {"speech", "silence", "noise", "music"}
    assert all(len(piece.samples) <= 20 * SAMPLE_RATE_HZ for piece in pieces)
    assert all(np.isfinite(piece.samples).all() for piece in pieces)
    assert max(float(np.abs(piece.samples).max()) for piece in pieces if len(piece.samples)) <= 1.0


def test_the_last_block_is_the_first_again_and_turns_count_on() -> None:
    first, last = blocks(Programme(CLIPS, duration_s=240, speech_share=0.5, seed=3))
    assert len(first) == len(last)
    for one, other in zip(first, last, strict=True):
        assert one.text == other.text
        np.testing.assert_array_equal(one.samples, other.samples)
    turns = [piece.turn for piece in first + last if piece.turn >= 0]
    assert turns == sorted(turns)
    assert {p.turn for p in first if p.turn >= 0}.isdisjoint(p.turn for p in last if p.turn >= 0)


def test_hours_between_differ() -> None:
    programme = Programme(CLIPS, duration_s=5 * 3600, speech_share=0.1)
    assert [programme.repeats(block) for block in range(5)] == [True, False, True, False, True]


def test_seeds_are_days() -> None:
    one = next(iter(Programme(CLIPS, duration_s=60, seed=1).pieces()))
    same = next(iter(Programme(CLIPS, duration_s=60, seed=1).pieces()))
    np.testing.assert_array_equal(one.samples, same.samples)
    others = [next(iter(Programme(CLIPS, duration_s=60, seed=n).pieces())) for n in range(2, 8)]
    assert any(len(other.samples) != len(one.samples) for other in others)


def test_noise_files_are_found_and_heard(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sound file"):
        noise_files(tmp_path)
    files = noise_files(MANIFEST.parent)
    assert files
    assert {path.suffix for path in files} == {".flac", ".ogg"}
    pieces = list(Programme(CLIPS, duration_s=120, noises=files, seed=5).pieces())
    assert sum(len(piece.samples) for piece in pieces) == 120 * SAMPLE_RATE_HZ


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_impossible_shares_are_refused(share: float) -> None:
    with pytest.raises(InputError, match="speech share"):
        Programme(CLIPS, duration_s=60, speech_share=share)
