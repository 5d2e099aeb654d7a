"""What is wrong is told together, before anything is made or measured."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from edge_audiokv.errors import InputError
from edge_audiokv.eval.quants.check import longest_s, read_clips, read_model, refuse
from edge_audiokv.eval.wer import read_manifest

from ...native import tiny

DATA = Path(__file__).resolve().parents[2] / "data"


def manifest(folder: Path, *rows: dict[str, str]) -> Path:
    shutil.copy(DATA / "letter.flac", folder / "letter.flac")
    path = folder / "clips.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_clips_that_are_right_are_read(tmp_path: Path) -> None:
    path = manifest(tmp_path, {"path": "letter.flac", "text": "a letter", "recording": "r"})
    faults: list[str] = []
    (clip,) = read_clips(partial(read_manifest, path), 30.0, faults)
    assert (clip.id, clip.recording, faults) == ("letter", "r", [])


def test_every_kind_of_wrong_clip_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.flac").write_text("no sound")
    path = manifest(
        tmp_path,
        {"path": "letter.flac", "text": "a letter"},
        {"path": "letter.flac", "text": "..."},
        {"path": "gone.flac", "text": "gone", "id": "g"},
        {"path": "notes.flac", "text": "notes", "id": "n"},
    )
    faults: list[str] = []
    read_clips(partial(read_manifest, path), 2.0, faults)
    empty, twice, unread = faults
    assert "no words in the text of letter" in empty and "there twice of letter" in twice
    for part in ("is longer than 2 s", "gone.flac", "notes.flac is not audio"):
        assert part in unread


@pytest.mark.parametrize("text", [None, "no json\n", ""])
def test_what_is_no_manifest_is_one_fault(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "clips.jsonl"
    if text is not None:
        path.write_text(text)
    faults: list[str] = []
    assert read_clips(partial(read_manifest, path), 30.0, faults) == [] and len(faults) == 1


def test_a_model_whose_gguf_is_cut_short_is_told(tmp_path: Path) -> None:
    whole = tiny.write(tmp_path / "tiny.gguf", "llama").read_bytes()
    (tmp_path / "encoder.onnx").write_bytes(b"")
    stated = f"size_bytes = {len(whole)}"
    (tmp_path / "model.toml").write_text(
        f"""
name = "toy"
[audio]
sample_rate_hz = 16000
tokens_per_second = 12.5
max_audio_s = 20.0
[llm]
architecture = "llama"
d_model = 64
context_length_tokens = 512
[prompt]
template = "{{audio}}"
end_of_turn = "."
[[file]]
role = "encoder"
name = "encoder.onnx"
[[file]]
role = "llm"
name = "tiny.gguf"
{stated}
"""
    )
    faults: list[str] = []
    assert longest_s(read_model(str(tmp_path), faults)) == 20.0 and faults == []
    for cut in (100, len(whole) // 2, len(whole) - 64):
        (tmp_path / "tiny.gguf").write_bytes(whole[:cut])
        faults.clear()
        read_model(str(tmp_path), faults)
        assert len(faults) == 1 and "tiny.gguf" in faults[0], (cut, faults)
    faults.clear()
    assert longest_s(read_model("no-such-model", faults)) == 30.0 and len(faults) == 1


def test_all_faults_are_one_refusal() -> None:
    refuse([])
    with pytest.raises(InputError, match=r"^one\. Nothing was measured\.$"):
        refuse(["one."])
    with pytest.raises(InputError, match=r"^2 things are wrong: \(1\) one\. \(2\) two\. Nothing"):
        refuse(["one", "two."])
