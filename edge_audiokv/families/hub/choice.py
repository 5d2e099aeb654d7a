"""What of a repository is needed: configuration, tokenizer, safetensors, licence; never code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from edge_audiokv.errors import ModelError
from edge_audiokv.families import adapter
from edge_audiokv.families.tensors import INDEX, SINGLE, read_json

CONFIG = "config.json"
# Where adapters lie: beside the weights, or that of Phi-4-multimodal for sound.
ADAPTERS = ("", "speech-lora/")
_SMALL = {
    CONFIG,
    INDEX,
    *(place + adapter.CONFIG for place in ADAPTERS),
    "README.md",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tekken.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
}
_LICENCE = re.compile(r"(?:LICEN[CS]E|NOTICE)(?:\.(?:md|txt))?", re.I)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# Tokenizers of the largest vocabularies have a third of it.
_MOST_SMALL_BYTES = 128 << 20


def small_files(sizes: dict[str, int], what: str) -> list[str]:
    """Names of files beside the weights, of those in `sizes`; `what` is the repository.

    Raises ModelError if it is no checkpoint that could be converted.
    """
    if CONFIG not in sizes:
        raise ModelError(
            f"{what} holds no {CONFIG}.",
            cure="Take the repository of a checkpoint in the form that transformers knows.",
        )
    if INDEX not in sizes and SINGLE not in sizes:
        if any(name.endswith(_PICKLES) for name in sizes):
            raise ModelError(
                f"{what} holds weights as pickles alone, which could run code.",
                cure="Look for a revision, or a copy, with safetensors.",
            )
        raise ModelError(
            f"{what} has neither {SINGLE} nor {INDEX}.",
            cure="Take the repository of a whole checkpoint: no adapter, no GGUF.",
        )
    chosen = [name for name in sorted(sizes) if name in _SMALL or _LICENCE.fullmatch(name)]
    for name in chosen:
        if sizes[name] > _MOST_SMALL_BYTES:
            raise ModelError(
                f"{name} of {what} has {sizes[name]} bytes, which no such file has.",
                cure="Take the checkpoint as its makers publish it.",
            )
    return chosen


def weight_files(folder: Path, there: Iterable[str], what: str) -> list[str]:
    """Names of the files with the weights, by the index in `folder` if there is one.

    An adapter's belong to them. Raises ModelError if the index names what is not `there`.
    """
    known = set(there)
    beside = [
        place + adapter.WEIGHTS for place in ADAPTERS if (folder / place / adapter.CONFIG).is_file()
    ]
    for name in beside:
        if name not in known:
            raise ModelError(
                f"{what} lacks {name}, which its {adapter.CONFIG} is of.",
                cure="Take a revision whose adapter is in safetensors.",
            )
    if not (folder / INDEX).is_file():
        return [SINGLE, *beside]
    places = read_json(folder / INDEX).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(x, str) for x in places.values()):
        raise ModelError(f"{INDEX} of {what} has no weight_map.", cure="Take another revision.")
    names = sorted({*places.values()})
    for name in names:
        if name not in known or Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(
                f"{what} lacks {name}, which its index names.", cure="Take another revision."
            )
    return names + beside
