"""What cannot be converted is told in one line with a cure, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from edge_audiokv.errors import (
    EdgeAudioKVError,
    InputError,
    MissingExtraError,
    ModelError,
    OutputError,
)
from edge_audiokv.families import convert, llm, packages, split
from edge_audiokv.families.growing import check_room, growing_folder
from edge_audiokv.families.table import read
from edge_audiokv.families.tensors import find_tensors

from . import tiny
from .chunked import Ultravox
from .conformers import GraniteSpeech, Phi4
from .conftest import Case
from .windowed import Qwen2Audio


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint; copies of it are spoilt."""
    return Qwen2Audio(tmp_path_factory.mktemp("whole") / "checkpoint").folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "checkpoint"))


def change(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for name, value in fields.items():
        inner = config
        *way, last = name.split("__")
        for step in way:
            inner = inner[step]
        inner[last] = value
    path.write_text(json.dumps(config))


def refused(folder: Path, kind: type[EdgeAudioKVError] = ModelError, **parts: Path) -> str:
    with pytest.raises(kind) as caught:
        read(folder, **parts).tower()
    assert caught.value.cure, caught.value
    assert "\n" not in str(caught.value)
    return str(caught.value)


def shard(folder: Path) -> Path:
    """Turn the checkpoint into two files with an index; the second file."""
    from safetensors.torch import load_file, save_file

    weights = load_file(str(folder / "model.safetensors"))
    names = sorted(weights)
    parts = {"model-1.safetensors": names[: len(names) // 2]}
    parts["model-2.safetensors"] = names[len(names) // 2 :]
    for file, held in parts.items():
        save_file({name: weights[name] for name in held}, str(folder / file))
    places = {name: file for file, held in parts.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "model.safetensors").unlink()
    return folder / "model-2.safetensors"


def test_folders_that_are_no_checkpoint(tmp_path: Path, folder: Path) -> None:
    assert "is no folder" in refused(tmp_path / "nowhere", InputError)
    assert "holds no config.json" in refused(tmp_path, InputError)
    (folder / "config.json").write_text("{")
    assert "is not JSON" in refused(folder)
    (folder / "config.json").write_text("[1]")
    assert "holds no JSON object" in refused(folder)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"model_type": "bert"}, "is a 'bert', no audio LLM"),
        ({"model_type": None}, "states no model_type"),
        ({"model_type": "other", "auto_map": {"AutoModel": "m.M"}}, "own code, which is never run"),
        ({"model_type": "voxtral_realtime"}, "another way of decoding"),
        ({"model_type": "gemma3n"}, "sliding windows"),
        ({"text_config__model_type": "gemma2"}, "which the cache does not serve"),
        ({"text_config__use_sliding_window": True, "text_config__sliding_window": 64}, "sliding"),
        ({"text_config__quantization_config": {"quant_method": "fp8"}}, "quantised already"),
        ({"audio_config__activation_function": "relu"}, "activation_function = 'relu'"),
        ({"audio_config__d_model": 80}, "has the shape"),
        ({"audio_config__encoder_layers": 3}, "has no tensor"),
        ({"audio_config": 7}, "cannot be used"),
    ],
)
def test_configurations_that_are_not_served(folder: Path, fields: dict[str, Any], why: str) -> None:
    change(folder, **fields)
    assert why in refused(folder)


@pytest.mark.integration
def test_code_of_a_checkpoint_is_never_run(made: Case, folder: Path, tmp_path: Path) -> None:
    assert (made.tiny.folder / "evil.py").is_file() and made.llm.is_file()
    assert not (made.tiny.folder.parent / "ran").exists()
    tiny.plant_code(folder, tmp_path / "ran")
    change(folder, model_type="something")
    assert "never run" in refused(folder)
    assert not (tmp_path / "ran").exists()


def test_a_shard_that_is_missing(folder: Path) -> None:
    second = shard(folder)
    assert len(find_tensors(folder)) > 40
    second.unlink()
    assert "lacks model-2.safetensors, which its index names" in refused(folder)


def test_an_index_that_names_what_is_not_there(folder: Path) -> None:
    shard(folder)
    index = folder / "model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": {**places, "more": "model-2.safetensors"}}))
    assert "lacks more" in refused(folder)
    index.write_text(json.dumps({"weight_map": {**places, "more": "../model-2.safetensors"}}))
    assert "lacks ../model-2.safetensors" in refused(folder)
    index.write_text("{}")
    assert "has no weight_map" in refused(folder)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")


def no_tensors(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 8) + b"not json")


def endless(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (half, "is cut short: it has"),
        (pointer, "is a Git LFS pointer"),
        (no_tensors, "is no safetensors file"),
        (endless, "is cut short or no safetensors file"),
        (lambda path: path.write_bytes(b""), "is cut short or no safetensors file"),
        (lambda path: path.unlink(), "has neither"),
        (lambda path: path.rename(path.with_name("w.bin")), "pickles, which could run code"),
        (lambda path: path.rename(path.with_name("w.incomplete")), "only half downloaded"),
    ],
)
def test_weights_that_are_not_whole(folder: Path, spoil: Callable[[Path], None], why: str) -> None:
    spoil(folder / "model.safetensors")
    assert why in refused(folder)


def test_an_ultravox_without_its_llm_or_its_encoder(tmp_path: Path) -> None:
    made = Ultravox(tmp_path / "uv")
    assert "--llm FOLDER" in refused(made.folder, InputError)
    change(made.folder, audio_latency_block_size=100)
    assert "audio_latency_block_size" in refused(made.folder, **made.parts())
    change(made.folder, audio_latency_block_size=None, text_model_lora_config={"r": 8})
    assert "text_model_lora_config" in refused(made.folder, **made.parts())
    change(made.folder, text_model_lora_config={"r": 0}, projector_act="gelu")
    assert "projector_act" in refused(made.folder, **made.parts())
    change(made.folder, projector_act="swiglu")
    tokenizer = made.folder / "llm" / "chat_template.jinja"
    tokenizer.write_text("{{ messages[0].content.upper() }}")
    assert "does not keep what a turn says" in refused(made.folder, **made.parts())
    tokenizer.write_text("{{ nothing.at.all }}")
    assert "cannot be used" in refused(made.folder, **made.parts())
    from safetensors.torch import load_file, save_file

    weights = load_file(str(made.folder / "model.safetensors"))
    kept = {name: value for name, value in weights.items() if not name.startswith("audio_tower.")}
    save_file(kept, str(made.folder / "model.safetensors"))
    assert "--whisper FOLDER" in refused(made.folder, InputError, **made.parts())
    half = {name: value for name, value in weights.items() if "fc1" not in name}
    save_file(half, str(made.folder / "model.safetensors"))
    change(made.folder, audio_config=None)
    assert "holds half an encoder" in refused(made.folder, **made.parts())


def test_parts_are_for_an_ultravox_alone(folder: Path) -> None:
    assert "are for an Ultravox" in refused(folder, InputError, llm=folder)


@pytest.fixture(scope="module")
def granite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return GraniteSpeech(tmp_path_factory.mktemp("granite") / "checkpoint").folder


@pytest.fixture(scope="module")
def phi4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Phi4(tmp_path_factory.mktemp("phi4") / "checkpoint").folder


def change_adapter(folder: Path, **fields: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def change_matrix(folder: Path, name: str, make: Callable[[Any], dict[str, Any]]) -> None:
    """Put what `make` gives in the place of the first tensor of the adapter that ends so."""
    from safetensors.torch import load_file, save_file

    path = str(folder / "adapter_model.safetensors")
    weights = load_file(path)
    found = next(key for key in weights if key.endswith(name))
    matrix = weights.pop(found)
    save_file({**weights, **make((found, matrix))}, path)


def other(name: str) -> Callable[[Any], dict[str, Any]]:
    return lambda found: {found[0].replace("layers.0", name): found[1]}


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda f: (f / "adapter_model.safetensors").unlink(), "half an adapter: there is no adap"),
        (lambda f: (f / "adapter_config.json").unlink(), "there is no adapter_config.json"),
        (lambda f: change_adapter(f, use_dora=True), "use_dora = True, which cannot be merged"),
        (lambda f: change_adapter(f, rank_pattern={"q_proj": 8}), "rank_pattern = "),
        (lambda f: change_adapter(f, peft_type="IA3"), "peft_type = 'IA3'"),
        (lambda f: change_adapter(f, r=0), "r = 0 and"),
        (lambda f: change_adapter(f, r=8), "[4, 256] for a rank of 8"),
        (lambda f: change_matrix(f, "q_proj.lora_A.weight", lambda _: {}), "has a tensor base_"),
        (lambda f: change_matrix(f, "q_proj.lora_A.weight", other("layers.9")), "has a tensor ba"),
        (lambda f: pointer(f / "adapter_model.safetensors"), "is a Git LFS pointer"),
        (lambda f: change(f, text_config__hidden_size=128, window_size=16), "another window_size"),
        (lambda f: change(f, encoder_config__input_dim=128), "another encoder_config.input_dim"),
        (lambda f: change(f, projector_config__hidden_act="relu"), "another projector_config.hidd"),
        (lambda f: change(f, projector_config__intermediate_size=64), "has the shape"),
        (lambda f: change(f, encoder_config__num_layers=4), "has no tensor model.encoder.layers.2"),
    ],
)
def test_a_granite_that_is_not_its_makers(
    granite: Path, tmp_path: Path, spoil: Callable[[Path], None], why: str
) -> None:
    folder = Path(shutil.copytree(granite, tmp_path / "checkpoint"))
    spoil(folder)
    assert why in refused(folder)


def test_a_granite_without_its_adapter(granite: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(granite, tmp_path / "checkpoint"))
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).unlink()
    assert "lacks its adapter for sound, which its config.json names" in refused(folder)
    change(folder, has_lora_adapter=False)
    assert read(folder).language.adapter is None


def test_an_adapter_of_another_model(granite: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(granite, tmp_path / "checkpoint"))
    for name in ("q_proj.lora_A.weight", "q_proj.lora_B.weight"):
        change_matrix(folder, f"layers.0.self_attn.{name}", other("layers.9"))
    assert "layers.9.self_attn.q_proj.weight that its language model has not" in refused(folder)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda f: shutil.rmtree(f / "speech-lora"), "lacks speech-lora, its adapter for sound"),
        (lambda f: (f / "speech-lora" / "adapter_config.json").unlink(), "half an adapter"),
        (lambda f: change(f, audio_config__bias_symmetric=True), "bias_symmetric = True instead"),
        (lambda f: change(f, audio_config__chunk_size=18), "chunk_size = 18 instead of -1"),
        (lambda f: change(f, rope_parameters__factor=2.0), "positions of another factor"),
        (lambda f: change(f, sliding_window=64), "attends through sliding windows"),
        (lambda f: change(f, audio_config__num_blocks=3), "has no tensor model.embed_tokens_ext"),
        (lambda f: change(f, model_type="phi4mm"), "in the layout of its makers' own program"),
    ],
)
def test_a_phi4_that_is_not_its_makers(
    phi4: Path, tmp_path: Path, spoil: Callable[[Path], Any], why: str
) -> None:
    folder = Path(shutil.copytree(phi4, tmp_path / "checkpoint"))
    spoil(folder)
    assert why in refused(folder)


def test_a_phi4_has_the_positions_of_its_first_table(phi4: Path) -> None:
    language = read(phi4).language
    rope = language.config["rope_parameters"]
    assert language.context_tokens == 1024 and language.config["max_position_embeddings"] == 8192
    assert rope["long_factor"] == rope["short_factor"] == [1.0 + 0.1 * n for n in range(12)]


def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "NEEDED", ("torch", "no_such_package"))
    with pytest.raises(MissingExtraError, match=r"needs no_such_package.*edge-audiokv\[convert\]"):
        packages.need()


def test_a_disk_without_room(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match="on the way, and its disk has"):
        check_room(tmp_path / "new", 1 << 60)
    monkeypatch.setattr(convert, "check_room", lambda *_: check_room(tmp_path / "new", 1 << 60))
    with pytest.raises(OutputError, match="Free some space"):
        convert.convert(read(folder), tmp_path / "new", llm_type="F32")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint"]


def test_a_target_that_is_taken(folder: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").write_text("mine")
    with pytest.raises(OutputError, match="is there already"):
        convert.convert(read(folder), taken)
    assert [path.name for path in taken.iterdir()] == ["mine"]
    with pytest.raises(OutputError, match="There is no directory"):
        convert.convert(read(folder), tmp_path / "no" / "where")
    with pytest.raises(InputError, match="There is no type"):
        convert.convert(read(folder), tmp_path / "new", llm_type="Q99")
    with pytest.raises(InputError, match="second step"):
        convert.convert(read(folder), tmp_path / "new", llm_type="IQ2_XXS")


def test_a_folder_that_grows_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with growing_folder(tmp_path / "a") as part:
        (part / "x").touch(0o600)
        (part / "x").write_text("x")
        assert not (tmp_path / "a").exists()
        with growing_folder(tmp_path / "a.b"):  # another's is left alone
            pass
        assert part.is_dir()
    assert (tmp_path / "a" / "x").read_text() == "x"
    (tmp_path / "plain").touch()
    assert (tmp_path / "a" / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "plain").unlink()
    with pytest.raises(ZeroDivisionError), growing_folder(tmp_path / "c") as part:
        (part / "x").write_text("x")
        raise ZeroDivisionError
    left = tmp_path / ".d.abcdefgh.part"
    left.mkdir()
    (left / "old").write_text("of a run that was killed")
    with growing_folder(tmp_path / "d"):
        assert not left.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.b", "d"]


def test_a_name_that_no_model_can_have(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="must be one printable line"):
        convert.convert(read(folder), tmp_path / "a\nb")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.integration
def test_who_breaks_off_leaves_no_process_and_no_file(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    target.mkdir()

    def stop(what: str, done: int, total: int) -> None:
        assert psutil.Process().children()
        raise KeyboardInterrupt

    before = psutil.Process().children()
    with pytest.raises(KeyboardInterrupt):
        llm.write_llm(read(folder).language, target / "llm.gguf", "Q4_K_M", progress=stop)
    assert psutil.Process().children() == before
    assert list(target.iterdir()) == []


def test_what_the_process_of_the_converter_says(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert split._main([str(tmp_path / "nowhere.json")]) == 3
    assert "cannot be written: No such file" in capfd.readouterr().err
    (tmp_path / "job.json").write_text("{}")
    assert split._main([str(tmp_path / "job.json")]) == 4
    assert capfd.readouterr().err == "KeyError: 'converter'\n"
