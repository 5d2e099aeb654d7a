"""Where an Ultravox has its encoder: inside, described or only named, or in a Whisper's folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from edge_audiokv.families.table import read

from . import tiny
from .chunked import Ultravox


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Ultravox:
    """With heads of 64, as every Whisper has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tiny.TOWER, "d_model", 64)
        patch.setitem(tiny.TOWER, "encoder_attention_heads", 1)
        return Ultravox(tmp_path_factory.mktemp("ultravox") / "checkpoint")


def without(folder: Path, target: Path, *fields: str) -> Path:
    """A copy whose configuration leaves out some fields."""
    target.mkdir()
    config = json.loads((folder / "config.json").read_text())
    config = {name: value for name, value in config.items() if name not in fields}
    (target / "config.json").write_text(json.dumps(config))
    (target / "model.safetensors").symlink_to(folder / "model.safetensors")
    return target


def check(made: Ultravox, folder: Path, **parts: Path) -> None:
    audio = tiny.sound(1.37, seed=4)
    plan = read(folder, **made.parts(), **parts)
    with torch.no_grad():
        rows = plan.tower().eval()(torch.from_numpy(audio)[None])[0]
    assert (rows - made.rows(audio)).abs().max() < 1e-4
    assert plan.tower_count > 100_000


def test_an_encoder_that_is_described(made: Ultravox) -> None:
    check(made, made.folder)


def test_an_encoder_that_is_only_named(made: Ultravox, tmp_path: Path) -> None:
    check(made, without(made.folder, tmp_path / "named", "audio_config"))


def test_an_encoder_in_a_folder_of_its_own(made: Ultravox, tmp_path: Path) -> None:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(**json.loads((made.folder / "config.json").read_text())["audio_config"])
    config.decoder_layers, config.decoder_ffn_dim, config.decoder_attention_heads = 1, 64, 1
    config.vocab_size, config.pad_token_id = 64, 0
    whisper = WhisperForConditionalGeneration(config)
    whisper.model.encoder.load_state_dict(made.encoder.state_dict())
    whisper.save_pretrained(str(tmp_path / "whisper"))
    folder = without(made.folder, tmp_path / "old", "audio_config")
    weights = load_file(str(made.folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    kept = {name: value for name, value in weights.items() if "audio_tower" not in name}
    save_file(kept, str(folder / "model.safetensors"))
    check(made, folder, whisper=tmp_path / "whisper")


def test_the_norm_of_older_versions_is_at_the_end(made: Ultravox, tmp_path: Path) -> None:
    """To v0.4.1 the second norm is behind both matrices."""
    folder = without(made.folder, tmp_path / "old", "projector_ln_mid")
    weights = load_file(str(made.folder / "model.safetensors"))
    name = "multi_modal_projector.ln_{}.weight"
    weights[name.format("post")] = weights.pop(name.format("mid"))
    (folder / "model.safetensors").unlink()
    save_file(weights, str(folder / "model.safetensors"))
    audio = torch.from_numpy(tiny.sound(0.5))[None]
    with torch.no_grad():
        rows = read(folder, **made.parts()).tower().eval()(audio)
        tower = read(made.folder, **made.parts()).tower().eval()
        projector = tower.multi_modal_projector
        scale, projector.ln_mid = projector.ln_mid.weight, torch.nn.Identity()
        plain = tower(audio)
    expected = plain / plain.pow(2).mean(-1, keepdim=True).add(1e-6).sqrt() * scale
    assert (rows - expected).abs().max() < 1e-4
