"""Mistral's tekken.json as the tokenizer.json that everybody else reads.

It lists tokens by rank, as tiktoken does; byte pairs are merged in the order of their ranks. A list
of merges says the same: for each token the two parts that it is last made of.
"""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from edge_audiokv.errors import ModelError
from edge_audiokv.families.tensors import read_json

NAME, OTHERS = "tekken.json", "tokenizer.json"
_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
}


def needs_tekken(folder: Path) -> bool:
    """Is tekken.json the only tokenizer of a checkpoint?"""
    return (folder / NAME).is_file() and not (folder / OTHERS).is_file()


def write_tokenizer(source: Path, folder: Path) -> None:
    """Write the tokenizer in `source`, a tekken.json, to `folder`. Raises ModelError, OSError."""
    data = read_json(source)
    try:
        specials, ranks = _specials(data), _ranks(data)
        pattern = str(data["config"]["pattern"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{source} is no tekken.json that is known here ({type(error).__name__}: {error}).",
            cure="Download it again.",
        ) from None
    letters = _letters()
    shown = {token: "".join(letters[byte] for byte in token) for token in ranks}
    vocabulary = {name: rank for rank, name in enumerate(specials)}
    vocabulary |= {text: ranks[token] + len(specials) for token, text in shown.items()}
    merges = []
    for token in sorted(ranks, key=ranks.__getitem__):
        if len(token) > 1:
            parts = merged(token, ranks, below=ranks[token])
            if len(parts) == 2:
                merges.append([shown[part] for part in parts])
    split = {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }
    level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [
        {"id": rank, "content": name, **flags, "special": True}
        for rank, name in enumerate(specials)
    ]
    made = {
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
        "decoder": level,
        "model": {
            "type": "BPE",
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": merges,
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OTHERS).write_text(json.dumps(made, ensure_ascii=False), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(_CONFIG), encoding="utf-8")
    # gguf takes the ids of the first and last token from here.
    ids = {"bos_token_id": vocabulary["<s>"], "eos_token_id": vocabulary["</s>"]}
    (folder / "config.json").write_text(json.dumps(ids), encoding="utf-8")


def merged(token: bytes, ranks: dict[bytes, int], *, below: int) -> list[bytes]:
    """The parts of `token` when the pairs of the lowest ranks, all under `below`, are merged."""
    parts = [token[at : at + 1] for at in range(len(token))]
    while len(parts) > 1:
        pairs = [
            (ranks.get(first + second, below), at)
            for at, (first, second) in enumerate(pairwise(parts))
        ]
        rank, at = min(pairs)
        if rank >= below:
            break
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def _specials(data: dict[str, Any]) -> list[str]:
    """Names of the special tokens, by id; those that the file leaves out have Mistral's own."""
    count = int(data["config"]["default_num_special_tokens"])
    if not 0 < count <= 1 << 16:
        raise ValueError(f"{count} special tokens")
    names = [f"<SPECIAL_{rank}>" for rank in range(count)]
    for special in data["special_tokens"]:
        rank = int(special["rank"])
        if not 0 <= rank < count:
            raise ValueError(f"special token {rank}")
        names[rank] = str(special["token_str"])
    if len(set(names)) < count or not {"<s>", "</s>"} <= set(names):
        raise ValueError("special tokens")
    return names


def _ranks(data: dict[str, Any]) -> dict[bytes, int]:
    """Tokens that are no special ones, by rank; what is over the model's vocabulary is left out."""
    config = data["config"]
    most = int(config["default_vocab_size"]) - int(config["default_num_special_tokens"])
    ranks = {base64.b64decode(item["token_bytes"]): int(item["rank"]) for item in data["vocab"]}
    ranks = {token: rank for token, rank in ranks.items() if rank < most}
    if sorted(ranks.values()) != list(range(len(ranks))) or any(
        bytes([byte]) not in ranks for byte in range(256)
    ):
        raise ValueError("ranks that are not whole")
    return ranks


def _letters() -> list[str]:
    """How GPT-2 and all after it write bytes: printable ones as they are, the rest from 256 on."""
    kept = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in kept]
    return [chr(byte if byte in kept else 256 + others.index(byte)) for byte in range(256)]
