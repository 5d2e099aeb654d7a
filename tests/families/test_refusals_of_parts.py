"""What is refused of a family's own settings, of a hub, and of files beside a checkpoint."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_audiokv.errors import DownloadError, InputError, ModelError, OutputError
from edge_audiokv.families import checks, export, llm, sdist
from edge_audiokv.families.growing import check_target, growing_folder
from edge_audiokv.families.hub import choice
from edge_audiokv.families.hub.faults import told
from edge_audiokv.families.hub.name import HubName
from edge_audiokv.families.parity import compare
from edge_audiokv.families.parity.reference import Reference
from edge_audiokv.families.table import read
from edge_audiokv.families.tensors import read_header, read_json

from . import tiny
from .conftest import Case
from .test_refusals import change, refused

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("family", "fields", "why"),
    [
        ("audio_flamingo", {"projector_hidden_act": "relu"}, "projector is not one of Audio Fl"),
        ("glm_asr", {"projector_hidden_act": "relu"}, "another projector_hidden_act"),
        ("glm_asr", {"audio_config__intermediate_size": 64}, "another intermediate_size"),
        ("fun_asr", {"adaptor_config__projector_hidden_act": "gelu"}, "another projector_hidden"),
        ("music_flamingo", {"audio_frame_step": 0.02}, "another audio_frame_step"),
        ("moss", {"audio_chunk_size": 16_000}, "another audio_chunk_size"),
        ("qwen3_asr", {"thinker_config": {}}, "in the layout of its makers' own program"),
        ("qwen2_audio", {"audio_config__encoder_attention_heads": 3}, "heads that do not divide"),
        (
            "qwen3_asr",
            {"text_config__layer_types": ["sliding_attention"] * 3},
            "attends through sliding windows",
        ),
    ],
)
def test_a_family_with_other_settings(
    all_made: dict[str, Case], tmp_path: Path, family: str, fields: dict[str, Any], why: str
) -> None:
    folder = Path(shutil.copytree(all_made[family].tiny.folder, tmp_path / "checkpoint"))
    change(folder, **fields)
    assert why in refused(folder)


def test_an_ultravox_has_one_encoder(all_made: dict[str, Case]) -> None:
    made = all_made["ultravox"].tiny
    assert "holds an encoder of its own" in refused(
        made.folder, InputError, **made.parts(), whisper=made.folder
    )


def test_a_tower_without_a_language_model(all_made: dict[str, Case], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(all_made["qwen2_audio"].tiny.folder, tmp_path / "checkpoint"))
    path = str(folder / "model.safetensors")
    heard = {name: value for name, value in load_file(path).items() if "language_model" not in name}
    save_file({name: value for name, value in heard.items() if "lm_head" not in name}, path)
    assert "holds no language model" in refused(folder)


def test_an_adapter_with_nothing_in_it(all_made: dict[str, Case], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = Path(shutil.copytree(all_made["granite_speech"].tiny.folder, tmp_path / "checkpoint"))
    save_file({}, str(folder / "adapter_model.safetensors"))
    assert "no matrices" in refused(folder)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for look in (read_json, read_header):
        with pytest.raises(ModelError, match=r"Cannot read .*: Is a directory"):
            look(tmp_path)


def test_a_tokenizer_that_transformers_cannot_read(
    all_made: dict[str, Case], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(all_made["moss"].tiny.folder, tmp_path / "checkpoint"))
    (folder / "tokenizer.json").write_text("{}")
    assert "The tokenizer in" in refused(folder)


def test_a_type_that_no_encoder_has() -> None:
    with pytest.raises(InputError, match="no encoder type 'int4'") as caught:
        export.check_type("int4")
    assert "fp16" in caught.value.cure


def test_a_graph_that_gives_another_number_of_rows(made: Case) -> None:
    audio = tiny.sound(1.0)[None]
    with pytest.raises(ModelError, match=r"gives \[1, 25, 128\] for \[1, 24, 128\]"):
        checks.rows_difference(
            [(audio, np.zeros((1, 24, 128), np.float32))], made.folder / "encoder.onnx"
        )
    for look, what in (
        (compare._rows_finding, "25 for 24"),
        (compare._logits_finding, "25 for 24 tokens"),
    ):
        finding = look(SimpleNamespace(), np.zeros(25), np.zeros(24))  # type: ignore[arg-type]
        assert finding.has_failed and finding.what == what


def test_a_reference_that_transformers_cannot_read(
    all_made: dict[str, Case], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(all_made["qwen2_audio"].tiny.folder, tmp_path / "checkpoint"))
    plan = read(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="transformers cannot read") as caught:
        Reference(plan)
    assert "\n" not in str(caught.value)


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match="There is no directory"):
        check_target(tmp_path / "nowhere" / "new")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="may not be written"):
        check_target(tmp_path / "new")


def test_a_folder_that_somebody_else_fills_meanwhile(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is there already"), growing_folder(tmp_path / "new"):
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "theirs").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert stat.S_ISDIR((tmp_path / "new").stat().st_mode)


def test_a_disk_that_is_full_while_the_llm_is_written(
    made: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = [sys.executable, "-c", "print('cannot be written: No space left.'); raise SystemExit(3)"]
    start = subprocess.Popen
    monkeypatch.setattr(llm, "extract_converter", lambda folder: folder)
    monkeypatch.setattr(subprocess, "Popen", lambda _, **given: start(full, **given))
    with pytest.raises(OutputError, match=r"new\.gguf cannot be written: No space left"):
        llm.write_llm(made.plan.language, tmp_path / "new.gguf", "F16")


@pytest.mark.parametrize(
    ("sizes", "why"),
    [
        ({"model.safetensors": 9}, "holds no config.json"),
        ({"config.json": 9}, "has neither model.safetensors nor"),
        ({"config.json": 9, "model.safetensors": 9, "tokenizer.json": 1 << 40}, "which no such fi"),
    ],
)
def test_a_repository_that_is_no_checkpoint(sizes: dict[str, int], why: str) -> None:
    with pytest.raises(ModelError, match=why):
        choice.small_files(sizes, "a/b")


@pytest.mark.parametrize(
    ("places", "why"),
    [
        ({"a": 3}, "has no weight_map"),
        ({"a": "there.safetensors", "b": "gone.safetensors"}, "lacks gone.safetensors"),
        ({"a": "../there.safetensors"}, "lacks ../there"),
        ({"a": "there.bin"}, "lacks there.bin"),
    ],
)
def test_an_index_on_the_hub_that_names_other_files(
    tmp_path: Path, places: dict[str, Any], why: str
) -> None:
    (tmp_path / choice.INDEX).write_text(json.dumps({"weight_map": places}))
    with pytest.raises(ModelError, match=why):
        choice.weight_files(tmp_path, ["there.safetensors", "there.bin"], "a/b")


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.ENOSPC, "disk of the hub's cache is full"),
        (errno.EACCES, "Cannot write to the hub's cache"),
    ],
)
def test_a_cache_of_the_hub_that_takes_nothing(number: int, why: str) -> None:
    with pytest.raises(DownloadError, match=why) as caught, told(HubName("a/b", "main")):
        raise OSError(number, os.strerror(number))
    assert "HF_HOME" in caught.value.cure


def test_a_hub_that_names_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    from edge_audiokv.families.hub import repository

    def nothing(*_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(sha="main", siblings=())

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", nothing)
    with pytest.raises(DownloadError, match="names no commit of a/b"):
        repository.look(HubName("a/b", "main"))


def test_an_installation_without_its_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdist, "__file__", str(tmp_path / "a" / "b" / "sdist.py"))
    with pytest.raises(ModelError, match="lacks UPSTREAM"):
        sdist.read_pin()


def test_an_sdist_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDGE_AUDIOKV_LLAMA_SDIST", "EDGE_AUDIOKV_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path))
    failed = SimpleNamespace(returncode=1)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(DownloadError, match="Cannot fetch llama_cpp_python==") as caught:
        sdist.find_sdist()
    assert "EDGE_AUDIOKV_LLAMA_SDIST" in caught.value.cure
