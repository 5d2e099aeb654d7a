"""Mistral's tekken.json: the tokens of the tokenizer.json that is made of it, and what is none."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from edge_audiokv.errors import ModelError
from edge_audiokv.families.tekken import merged, needs_tekken, write_tokenizer
from edge_audiokv.families.wording import load_tokenizer

from .tekken_file import TekkenTokenizer

SPECIALS = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AUDIO]"]
TEXTS = (
    "the quick brown fox what is said here, please!",
    "<s>[INST]Transcribe the audio.[/INST] 3.14 x1x y2y\n\n  Übermut 你好 😀\t\r\n</s>",
)


@pytest.fixture
def tekken(tmp_path: Path) -> TekkenTokenizer:
    (tmp_path / "other").mkdir()
    return TekkenTokenizer(tmp_path, SPECIALS, tmp_path / "other")


def test_the_tokens_are_those_of_the_same_merges(tekken: TekkenTokenizer, tmp_path: Path) -> None:
    assert needs_tekken(tmp_path)
    write_tokenizer(tmp_path / "tekken.json", tmp_path / "made")
    made = load_tokenizer(tmp_path / "made")
    assert len(made) == len(tekken)
    for text in TEXTS:
        ids = made(text, add_special_tokens=False)["input_ids"]
        assert ids == tekken(text, add_special_tokens=False)["input_ids"]
        assert made.decode(ids) == text
    assert made.bos_token_id == 1 and made.eos_token_id == 2
    assert not needs_tekken(tmp_path / "made")


def test_pairs_are_merged_by_rank() -> None:
    ranks = {b"a": 0, b"b": 1, b"c": 2, b"bc": 3, b"ab": 4, b"abc": 5}
    assert merged(b"abc", ranks, below=5) == [b"a", b"bc"]
    assert merged(b"abc", ranks, below=3) == [b"a", b"b", b"c"]
    assert merged(b"ab", ranks, below=9) == [b"ab"]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.pop("vocab"),
        lambda data: data.pop("special_tokens"),
        lambda data: data["vocab"].pop(3),
        lambda data: data["special_tokens"][1].update(token_str="</s>"),
        lambda data: data["special_tokens"][1].update(rank=99),
        lambda data: data["config"].update(default_num_special_tokens=1 << 40),
        lambda data: data["vocab"][0].update(token_bytes="?"),
        lambda data: data.update(config=[]),
    ],
)
def test_what_is_no_tekken_is_told(tekken: TekkenTokenizer, tmp_path: Path, change: Any) -> None:
    path = tmp_path / "tekken.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(ModelError, match=r"is no tekken.json that is known here.*Download"):
        write_tokenizer(path, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_tokens_are_bytes(tekken: TekkenTokenizer, tmp_path: Path) -> None:
    data = json.loads((tmp_path / "tekken.json").read_text())
    assert {len(base64.b64decode(item["token_bytes"])) for item in data["vocab"]} >= {1, 2, 3}
