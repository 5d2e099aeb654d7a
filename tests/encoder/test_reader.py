"""The default model's reader on real speech, and files that do not make one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
import soundfile

from edge_audiokv.encoder.dtw import token_frames
from edge_audiokv.encoder.onnx import OnnxEncoder
from edge_audiokv.encoder.reader import WhisperReader
from edge_audiokv.encoder.weave import OrderedWords
from edge_audiokv.errors import ModelError
from edge_audiokv.models import catalog, download

DATA = Path(__file__).resolve().parents[1] / "data"
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def paths() -> tuple[Path, Path, Path]:
    found = download.ensure(catalog.resolve("smollm2-audio")).reader_paths
    assert found is not None
    return found


@pytest.fixture(scope="module")
def reader(paths: tuple[Path, Path, Path]) -> WhisperReader:
    return WhisperReader(*paths).load()


def clips() -> list[tuple[str, str]]:
    rows = map(json.loads, (DATA / "manifest.jsonl").read_text(encoding="utf-8").splitlines())
    return [(row["path"], row["text"]) for row in rows]


def samples_of(name: str) -> np.ndarray:
    return np.asarray(soundfile.read(DATA / name, dtype="float32")[0])


def text_of(reader: WhisperReader, audio: np.ndarray) -> str:
    return "".join(reader.words[step.token] for step in reader.read(audio)).strip()


@pytest.mark.parametrize(("name", "text"), clips())
def test_it_reads_what_is_said(reader: WhisperReader, name: str, text: str) -> None:
    said = text.lower().replace(",", "").replace(".", "").replace("harbour", "harbor")
    assert text_of(reader, samples_of(name)) == said


def test_it_spells_as_it_is_told_to_and_invents_nothing(reader: WhisperReader) -> None:
    reader.expect(["harbour", "Dykvelt", "Dunstaffnage"])
    try:
        for name, text in clips():
            assert text_of(reader, samples_of(name)) == text.lower().replace(".", "")
    finally:
        reader.expect([])
    assert "harbor" in text_of(reader, samples_of("harbour.flac")).split()


def test_it_reads_the_same_twice_and_words_lie_in_order(reader: WhisperReader) -> None:
    audio = samples_of("letter.flac")
    first, again = reader.read(audio), reader.read(audio)
    assert [step.token for step in first] == [step.token for step in again]
    np.testing.assert_array_equal(first[3].looks, again[3].looks)
    starts, ends = token_frames(np.stack([step.looks for step in first]))
    assert (np.diff(starts) >= 0).all() and ends[-1] == first[0].looks.shape[1] - 1


def test_its_words_become_those_of_the_rows(reader: WhisperReader) -> None:
    graph = Path(__file__).resolve().parents[2] / "models" / "smollm2-audio" / "encoder.onnx"
    audio = samples_of("clip.flac")
    with OnnxEncoder(graph, d_model=576, warm_up=False) as encoder:
        sound = encoder.hear(audio)
        ordered = OrderedWords(reader, encoder.words, share=0.9)
        woven = ordered.amend(audio, sound)
        assert ordered.amend(np.zeros(31 * 16_000, np.float32), sound) is sound
    said = "".join(ordered.words[word] for word in woven.best_path)
    assert said.strip() == "the old man walks slowly down the road to the river"
    assert woven.in_order and not sound.in_order
    assert (woven.beliefs.sum(axis=1) <= 1.001).all()


def test_any_length_is_read_and_more_than_thirty_seconds_refused(reader: WhisperReader) -> None:
    for n_samples in (1, 200, 16_000):
        reader.read(np.zeros(n_samples, np.float32))
    with pytest.raises(ModelError, match="takes 30 s"):
        reader.read(np.zeros(30 * 16_000 + 1, np.float32))


def test_memory_is_constant_after_warming_up(paths: tuple[Path, Path, Path]) -> None:
    process = psutil.Process()
    noise = np.random.default_rng(0).standard_normal(6 * 16_000).astype(np.float32) * 0.1
    own = WhisperReader(*paths).load()
    own.warm_up(len(noise))
    loaded_bytes = process.memory_info().rss
    for n_samples in np.random.default_rng(1).integers(1, len(noise), 8):
        own.read(noise[:n_samples])
    assert process.memory_info().rss - loaded_bytes < 10_000_000
    own.close()
    own.close()
    with pytest.raises(ModelError, match="closed"):
        own.read(noise)


def test_files_that_make_no_reader_are_told(paths: tuple[Path, Path, Path], tmp_path: Path) -> None:
    audio, text, weights = paths
    graph = onnx.load(text, load_external_data=False)
    graph.metadata_props[0].value = "one\ntwo"
    onnx.save(graph, tmp_path / "few.onnx")
    (tmp_path / "garbage.onnx").write_bytes(b"\x08\x07not protobuf" * 50)
    for triple, what in (
        ((audio, tmp_path / "none.onnx", weights), "is missing"),
        ((audio, text, audio), "no CTranslate2 weights"),
        ((tmp_path / "garbage.onnx", text, weights), "garbage.onnx is not a usable"),
        ((text, audio, weights), "inputs or outputs"),
        ((audio, tmp_path / "few.onnx", weights), "2 words for 51864 tokens"),
    ):
        with pytest.raises(ModelError, match=what):
            WhisperReader(*triple).load()
