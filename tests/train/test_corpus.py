from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_audiokv.errors import InputError
from edge_audiokv.train.corpus import Corpus, CorpusWriter, read_manifest


def write(stem: Path, sizes: list[int]) -> list[np.ndarray]:
    writer, sounds = CorpusWriter(stem), []
    for i, size in enumerate(sizes):
        sounds.append(np.random.default_rng(i).uniform(-1, 1, size).astype(np.float32))
        writer.add(str(i), f"text {i}", "me", sounds[-1])
    writer.close()
    return sounds


def test_samples_come_back_within_one_step(tmp_path: Path) -> None:
    sounds = write(tmp_path / "one", [1600, 3200, 800])
    corpus = Corpus([tmp_path / "one"])
    assert [u.samples for u in corpus.utterances] == [1600, 3200, 800]
    for i, sound in enumerate(sounds):
        np.testing.assert_allclose(corpus.audio(i), sound, atol=1e-4)


def test_several_corpora_are_one_and_can_be_narrowed(tmp_path: Path) -> None:
    first = write(tmp_path / "one", [1600, 3200])
    second = write(tmp_path / "two", [800])
    corpus = Corpus([tmp_path / "one", tmp_path / "two"])
    assert corpus.hours == pytest.approx(5600 / 16_000 / 3600)
    corpus.keep([2, 0])
    np.testing.assert_allclose(corpus.audio(0), second[0], atol=1e-4)
    np.testing.assert_allclose(corpus.audio(1), first[0], atol=1e-4)


def test_an_unfinished_corpus_is_not_read(tmp_path: Path) -> None:
    writer = CorpusWriter(tmp_path / "one")
    writer.add("a", "text", "me", np.zeros(1600, np.float32))
    with pytest.raises(InputError, match="No corpus"):
        Corpus([tmp_path / "one"])
    writer.flush()
    assert len(Corpus([tmp_path / "one"])) == 1
    writer.close()


def test_manifest_paths_are_beside_it(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text('{"id": "a", "path": "audio/a.flac"}\n')
    (row,) = read_manifest(tmp_path / "manifest.jsonl")
    assert row["path"] == str(tmp_path / "audio" / "a.flac")
    with pytest.raises(InputError, match="No manifest"):
        list(read_manifest(tmp_path / "nothing.jsonl"))
