"""Plain lower-case text as tokens of Whisper's vocabulary, the classes that CTC learns.

Whisper writes names with a capital, so a word takes its capitalised token where that is shorter
("scottish" is three tokens, "Scottish" one); reading back lowers the case again.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from edge_audiokv.train.text import load_tokenizer, plain
from edge_audiokv.train.whisper import tiny_en_folder, tiny_en_weights

WORDS_ONLY = re.compile(r"^ ?[A-Za-z]?[a-z']*$")


class Spelling:
    """Class 0 is CTC's blank; class i is token `tokens[i - 1]`. Needs Whisper's tokenizer."""

    def __init__(self, folder: Path | None = None) -> None:
        path = (folder or tiny_en_folder()) / "tokenizer.json"
        self.tokenizer = Tokenizer.from_file(str(path))
        written = {i: self.tokenizer.decode([i]) for i in range(self.tokenizer.get_vocab_size())}
        self.tokens = [i for i, text in sorted(written.items()) if text and WORDS_ONLY.match(text)]
        self.class_of = {token: i + 1 for i, token in enumerate(self.tokens)}
        self._word = cache(self._spell)

    def _spell(self, word: str) -> tuple[int, ...]:
        def ids(text: str) -> list[int]:
            found: list[int] = self.tokenizer.encode(" " + text, add_special_tokens=False).ids
            return found

        shortest = min(ids(word), ids(word.capitalize()), key=len)
        return tuple(self.class_of[i] for i in shortest)

    def classes(self, text: str) -> list[int]:
        """Classes of plain text, word by word."""
        return [c for word in text.split() for c in self._word(word)]

    def text(self, classes: list[int]) -> str:
        """Plain text of classes; blanks must be gone."""
        return plain(self.tokenizer.decode([self.tokens[c - 1] for c in classes]))


def whisper_table(tokens: list[int]) -> Tensor:
    """Rows [len(tokens), 384] of tiny.en's token embeddings, float32."""
    table = tiny_en_weights()["decoder/embeddings/weight"]
    return torch.from_numpy(np.asarray(table[tokens], dtype=np.float32))


def llm_table(spelling: Spelling, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """(directions [classes, 576] of the same words in the LLM, mean [576]) from its embeddings.

    A word that is one token of the LLM, in lower case or as it stands, takes that token's row; any
    other the mean of its pieces. Rows are centred and normalised.
    """
    tokenizer = load_tokenizer()
    written = [spelling.tokenizer.decode([t]) for t in spelling.tokens]
    small = [e.ids for e in tokenizer.encode_batch([w.lower() for w in written])]
    as_is = [e.ids for e in tokenizer.encode_batch(written)]
    chosen = [b if len(b) < len(a) else a for a, b in zip(small, as_is, strict=True)]
    mean = embeddings[sorted({i for ids in chosen for i in ids})].mean(0)
    rows = torch.stack([embeddings[ids].mean(0) for ids in chosen]) - mean
    return rows / rows.norm(dim=-1, keepdim=True), mean
