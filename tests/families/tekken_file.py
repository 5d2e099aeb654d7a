"""A tokenizer as Mistral writes it: tekken.json, special tokens first."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from .tiny import write_tokenizer

SPACE = 16
"""Ids of special tokens, more than have names."""


class TekkenTokenizer:
    """The ids that a tekken.json gives, by the tokenizer that it was written from.

    That one is a BPE with merges and has its special tokens last: another way to the same tokens.
    """

    def __init__(self, folder: Path, specials: list[str], scratch: Path) -> None:
        self.specials = specials
        self.other: PreTrainedTokenizerFast = write_tokenizer(scratch, specials, "tekken")
        data = json.loads((scratch / "tokenizer.json").read_text())
        vocabulary = data["model"]["vocab"]
        self.texts = sorted(vocabulary, key=vocabulary.__getitem__)
        letters = bytes_of_letters()
        tokens = [bytes(letters[letter] for letter in text) for text in self.texts]
        # Single bytes have the first ranks, then tokens as they were merged.
        order = sorted(range(len(tokens)), key=lambda at: (len(tokens[at]) > 1, at))
        self.ids = {vocabulary[self.texts[at]]: SPACE + rank for rank, at in enumerate(order)}
        self.ids |= {self.other.convert_tokens_to_ids(s): i for i, s in enumerate(specials)}
        split = data["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
        content = {
            "config": {
                "pattern": split,
                # Two tokens are over the model's vocabulary and left out.
                "default_vocab_size": SPACE + len(order),
                "default_num_special_tokens": SPACE,
                "version": "v13",
            },
            "vocab": [
                {"rank": rank, "token_bytes": base64.b64encode(token).decode()}
                for rank, token in enumerate([*(tokens[at] for at in order), b"x1x", b"y2y"])
            ],
            "special_tokens": [
                {"rank": rank, "token_str": name, "is_control": True}
                for rank, name in enumerate(specials)
            ],
        }
        (folder / "tekken.json").write_text(json.dumps(content))

    def __len__(self) -> int:
        return SPACE + len(self.texts)

    def __call__(self, text: str, **flags: Any) -> dict[str, list[int]]:
        return {"input_ids": [self.ids[i] for i in self.other(text, **flags)["input_ids"]]}

    def convert_tokens_to_ids(self, names: Any) -> Any:
        if isinstance(names, str):
            return self.specials.index(names) if names in self.specials else None
        return [self.specials.index(name) for name in names]


def bytes_of_letters() -> dict[str, int]:
    """GPT-2's letters for bytes, from the tokenizers package's own list."""
    from tokenizers import pre_tokenizers

    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in kept]
    letters = {chr(byte): byte for byte in kept}
    letters |= {chr(256 + rank): byte for rank, byte in enumerate(others)}
    assert set(letters) == set(pre_tokenizers.ByteLevel.alphabet())
    return letters
