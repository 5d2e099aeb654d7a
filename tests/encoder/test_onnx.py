"""The onnxruntime encoder: golden embeddings of the default model, and graphs that do not fit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import psutil
import pytest
import soundfile
from onnx import TensorProto, helper

from edge_audiokv.encoder.onnx import OnnxEncoder
from edge_audiokv.errors import MissingExtraError, ModelError

from .graphs import write_graph, write_words

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = ROOT / "models" / "smollm2-audio" / "encoder.onnx"
CLIP = ROOT / "tests" / "data" / "clip.flac"
GOLDEN = ROOT / "tests" / "data" / "encoder_golden.npz"


def test_a_graph_may_name_words(tmp_path: Path) -> None:
    with OnnxEncoder(write_words(tmp_path / "w.onnx"), d_model=8, max_window_s=1) as encoder:
        sound = encoder.hear(np.zeros(3 * 16000, np.float32))
        assert encoder.words == (" a", " b", "c", " d")
    assert len(sound) == len(sound.words) == len(sound.beliefs) == 38
    assert set(map(tuple, sound.words.tolist())) == {(0, 3)}
    np.testing.assert_allclose(sound.beliefs, np.tile([0.6, 0.3], (38, 1)), rtol=1e-6)


def test_words_without_a_vocabulary_or_beyond_it_are_told(tmp_path: Path) -> None:
    for path, what in (
        (write_words(tmp_path / "none.onnx", vocabulary=""), "no vocabulary"),
        (write_words(tmp_path / "beyond.onnx", largest=4), "beyond its vocabulary of 4"),
    ):
        with pytest.raises(ModelError, match=what):
            OnnxEncoder(path, d_model=8).load()


@pytest.mark.parametrize("belief", [np.nan, np.inf, -1.0, 7.0])
def test_beliefs_that_are_none_are_told(tmp_path: Path, belief: float) -> None:
    path = write_words(tmp_path / "odd.onnx", beliefs=(belief, 0.3))
    with pytest.raises(ModelError, match="outside 0 to 1"):
        OnnxEncoder(path, d_model=8).load()


def test_outputs_that_are_no_words_are_told(tmp_path: Path) -> None:
    model = onnx.load(write_words(tmp_path / "flat.onnx"))
    for node in model.graph.node:
        if node.output[0] == "beliefs":
            node.CopyFrom(helper.make_node("ReduceMean", ["beliefs_row"], ["beliefs"], keepdims=0))
    del model.graph.output[2].type.tensor_type.shape.dim[:]
    onnx.save(model, tmp_path / "flat.onnx")
    with pytest.raises(ModelError, match=r"not \[1, T, K\]"):
        OnnxEncoder(tmp_path / "flat.onnx", d_model=8).load()


def test_embeddings_that_are_not_numbers_are_told(tmp_path: Path) -> None:
    model = onnx.load(write_graph(tmp_path / "nan.onnx"))
    last = model.graph.node[-1]
    model.graph.node.append(helper.make_node("Log", ["negative"], [last.output[0]]))
    last.output[0] = "zero"
    model.graph.node.insert(
        len(model.graph.node) - 1, helper.make_node("Sub", ["zero", "one"], ["negative"])
    )
    model.graph.initializer.append(helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]))
    onnx.save(model, tmp_path / "nan.onnx")
    with pytest.raises(ModelError, match="embeddings that are not numbers"):
        OnnxEncoder(tmp_path / "nan.onnx", d_model=8).load()


def test_a_toy_graph_runs_and_keeps_the_token_grid(tmp_path: Path) -> None:
    with OnnxEncoder(write_graph(tmp_path / "toy.onnx"), d_model=8, max_window_s=1) as encoder:
        ramp = np.arange(3 * 16000, dtype=np.float32) / 16000
        rows = encoder.encode(ramp)
    assert rows.shape == (38, 8) and rows.dtype == np.float32
    np.testing.assert_allclose(rows[0], ramp[:1280].mean(), rtol=1e-5)


def test_the_default_model_hears_words_where_they_are_said() -> None:
    audio, _ = soundfile.read(CLIP.with_name("letter.flac"), dtype="float32")
    with OnnxEncoder(DEFAULT, d_model=576, warm_up=False) as encoder:
        sound, words = encoder.hear(audio), encoder.words
    said = "".join(words[word] for word in sound.best_path).split()
    told = ["wrote", "long", "letter", "brother", "first", "day", "winter"]
    heard = [word for word in said if word in told]
    assert len(heard) >= 6 and heard == [word for word in told if word in heard]
    assert (sound.beliefs.sum(axis=1) <= 1.001).all() and (np.diff(sound.beliefs) <= 0).all()


def test_bytes_are_known_after_load_and_gone_after_close(tmp_path: Path) -> None:
    encoder = OnnxEncoder(DEFAULT, d_model=576, max_window_s=5)
    assert encoder.nbytes == 0
    encoder.load()
    assert encoder.nbytes > DEFAULT.stat().st_size
    encoder.close()
    encoder.close()
    assert encoder.nbytes == 0
    with pytest.raises(ModelError, match="closed"):
        encoder.encode(np.zeros(100, np.float32))


def test_memory_is_constant_after_load_and_given_back_by_close() -> None:
    process = psutil.Process()
    noise = np.random.default_rng(0).standard_normal(6 * 16000).astype(np.float32) * 0.1
    OnnxEncoder(DEFAULT, d_model=576, max_window_s=6).load().close()
    before_bytes = process.memory_info().rss
    encoder = OnnxEncoder(DEFAULT, d_model=576, max_window_s=6).load()
    loaded_bytes = process.memory_info().rss
    for n_samples in np.random.default_rng(1).integers(1, len(noise), 12):
        encoder.encode(noise[:n_samples])
    grown_bytes = process.memory_info().rss - loaded_bytes
    assert encoder.nbytes == pytest.approx(loaded_bytes - before_bytes, rel=0.05)
    assert grown_bytes < 0.1 * encoder.nbytes
    encoder.close()
    assert process.memory_info().rss - before_bytes < 0.25 * (loaded_bytes - before_bytes)


def test_default_model_gives_its_golden_embeddings() -> None:
    golden = np.load(GOLDEN)
    sha256 = hashlib.sha256(DEFAULT.read_bytes()).hexdigest()
    assert str(golden["encoder_sha256"]) == sha256, "run scripts/make_encoder_golden.py"
    audio, rate = soundfile.read(CLIP, dtype="float32")
    with OnnxEncoder(DEFAULT, d_model=576, warm_up=False) as encoder:
        rows = encoder.encode(audio)
    assert rate == 16000
    off = rows - golden["embeddings"].astype(np.float32)
    # Int8 rounds otherwise with other instruction sets: one CPU's rows are 1.03 % off another's. A
    # sound that is late by a sample makes 1.36 %, one that is louder by a hundredth 1.27 %.
    assert np.sqrt(np.mean(off**2)) < 0.012 * np.sqrt(np.mean(rows**2))
    assert np.abs(off).max() < 0.04
    assert np.abs(rows).mean() > 0.05


@pytest.mark.parametrize("n_samples", [1, 200, 1280, 1281, 40000])
def test_default_model_takes_any_length(n_samples: int) -> None:
    noise = np.random.default_rng(0).standard_normal(n_samples).astype(np.float32) * 0.1
    with OnnxEncoder(DEFAULT, d_model=576, max_window_s=2, warm_up=False) as encoder:
        rows = encoder.encode(noise)
    assert rows.shape == (-(-n_samples // 1280), 576)
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("width", [9, "w"])
def test_a_wrong_width_is_told(tmp_path: Path, width: int | str) -> None:
    path = write_graph(tmp_path / "wide.onnx", width=width)
    with pytest.raises(ModelError, match="the LLM needs"):
        OnnxEncoder(path, d_model=8).load()


def test_a_graph_for_log_mel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not float audio"):
        OnnxEncoder(write_graph(tmp_path / "mel.onnx", rank=3), d_model=8).load()


def test_two_inputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="2 inputs"):
        OnnxEncoder(write_graph(tmp_path / "two.onnx", inputs=2), d_model=8).load()


def test_another_token_rate_is_told(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "fast.onnx", token_samples=640)
    with pytest.raises(ModelError, match="2 tokens for 1 expected"):
        OnnxEncoder(path, d_model=8).load()


def test_a_graph_that_fails_while_running_is_told(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "odd.onnx", token_samples=999)
    with pytest.raises(ModelError, match="a graph that failed"):
        OnnxEncoder(path, d_model=8).load()


def test_missing_and_garbage_files_are_told_in_one_line(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"\x08\x07not protobuf" * 50)
    truncated = tmp_path / "truncated.onnx"
    truncated.write_bytes(DEFAULT.read_bytes()[:100_000])
    for path in (tmp_path / "none.onnx", garbage, truncated):
        with pytest.raises(ModelError) as caught:
            OnnxEncoder(path, d_model=8).load()
        assert path.name in str(caught.value) and "\n" not in str(caught.value)


def test_a_provider_that_is_not_there_names_the_ones_that_are(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "toy.onnx")
    with pytest.raises(MissingExtraError, match=r"Use one of: .*cpu"):
        OnnxEncoder(path, d_model=8, provider="abacus").load()


def test_what_onnxruntime_prints_reaches_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = onnxruntime.InferenceSession

    def talking(*args: object, **kwargs: object) -> object:
        # As it does when a provider that is there does not work.
        print("*************** EP Error ***************")
        return real(*args, **kwargs)

    monkeypatch.setattr(onnxruntime, "InferenceSession", talking)
    with OnnxEncoder(write_graph(tmp_path / "toy.onnx"), d_model=8, max_window_s=1) as encoder:
        assert len(encoder.encode(np.zeros(1280, np.float32))) == 1
    assert capsys.readouterr().out == ""
