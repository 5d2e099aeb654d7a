"""Plain lower-case text as tokens of Whisper's vocabulary, the classes that CTC learns.

Whisper writes names with a capital, so a word takes its capitalised token where that is shorter
("scottish" is three tokens, "Scottish" one); reading back lowers the case again.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from edge_audiokv.train.text import load_tokenizer, plain
from edge_audiokv.train.whisper import tiny_en_folder, tiny_en_weights

WORDS_ONLY = re.compile(r"^ ?[A-Za-z]?[a-z']*$")


LETTERS = "abcdefghijklmnopqrstuvwxyz'"


class Spelling:
    """Class 0 is CTC's blank; class i is token `tokens[i - 1]` of Whisper's vocabulary."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokenizer = load_whisper_tokenizer()
        self.tokens = tokens
        self.written = [self.tokenizer.decode([t]) for t in tokens]
        self._class_of = {text: i + 1 for i, text in enumerate(self.written)}
        self._word = cache(self._spell)

    def _spell(self, word: str) -> tuple[int, ...]:
        forms = [self._fewest(" " + word), self._fewest(" " + word.capitalize())]
        return min((f for f in forms if f), key=len, default=())

    def _fewest(self, text: str) -> tuple[int, ...]:
        """Fewest classes whose texts make up `text`; () if none do."""
        best: list[tuple[int, ...] | None] = [()]
        for end in range(1, len(text) + 1):
            options = [
                (*before, self._class_of[text[start:end]])
                for start in range(end)
                if (before := best[start]) is not None and text[start:end] in self._class_of
            ]
            best.append(min(options, key=len) if options else None)
        return best[-1] or ()

    def classes(self, text: str) -> list[int]:
        """Classes of plain text, word by word."""
        return [c for word in text.split() for c in self._word(word)]

    def text(self, classes: list[int]) -> str:
        """Plain text of classes; blanks must be gone."""
        return plain(self.tokenizer.decode([self.tokens[c - 1] for c in classes]))


@cache
def load_whisper_tokenizer() -> Tokenizer:
    """tiny.en's byte-level BPE."""
    return Tokenizer.from_file(str(tiny_en_folder() / "tokenizer.json"))


def common_tokens(texts: list[str], size: int) -> list[int]:
    """The `size` tokens of words that plain texts use most, ascending; letters are always there.

    Where the texts use fewer, the vocabulary's own order, frequent first, fills up.
    """
    tokenizer = load_whisper_tokenizer()

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return found

    words = Counter(word for text in texts for word in plain(text).split())
    counts: Counter[int] = Counter()
    for word, times in words.items():
        for token in min(ids(" " + word), ids(" " + word.capitalize()), key=len):
            counts[token] += times
    chosen = {t for letter in LETTERS for t in (*ids(letter), *ids(" " + letter))}
    for token in (*(t for t, _ in counts.most_common()), *range(tokenizer.get_vocab_size())):
        if len(chosen) == size:
            break
        if WORDS_ONLY.match(tokenizer.decode([token])):
            chosen.add(token)
    return sorted(chosen)


def whisper_table(tokens: list[int]) -> Tensor:
    """Rows [len(tokens), 384] of tiny.en's token embeddings, float32."""
    table = tiny_en_weights()["decoder/embeddings/weight"]
    return torch.from_numpy(np.asarray(table[tokens], dtype=np.float32))


def llm_table(tokens: list[int], embeddings: Tensor) -> Tensor:
    """Rows [len(tokens), 576] of the same words in the LLM's embedding table.

    A word that is one token of the LLM, in lower case or as it stands, takes that token's row; any
    other the mean of its pieces.
    """
    written = [load_whisper_tokenizer().decode([t]) for t in tokens]
    tokenizer = load_tokenizer()
    small = [e.ids for e in tokenizer.encode_batch([w.lower() for w in written])]
    as_is = [e.ids for e in tokenizer.encode_batch(written)]
    chosen = [b if len(b) < len(a) else a for a, b in zip(small, as_is, strict=True)]
    return torch.stack([embeddings[ids].mean(0) for ids in chosen])
