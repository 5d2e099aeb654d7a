"""A checkpoint folder: its configuration, completed by transformers, and its tensors."""

from __future__ import annotations

import re
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from edge_audiokv.errors import InputError, ModelError
from edge_audiokv.families.tensors import Stored, find_tensors, read_json
from edge_audiokv.families.unread import give

_LICENCE = re.compile(r"^license(_name)?:\s*['\"]?([^'\"\n]+)", re.M)
_MOST_CARD_BYTES = 1 << 20


class Checkpoint:
    """What lies in `folder`; nothing of it is ever run. Raises InputError if it is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise InputError(
                f"{folder} is no folder.", cure="Give the folder that holds the checkpoint."
            )
        if not (folder / "config.json").is_file():
            raise InputError(
                f"{folder} holds no config.json.",
                cure="Give a checkpoint's folder as the hub has it, with its config and tokenizer.",
            )
        self.raw = read_json(folder / "config.json")

    @property
    def model_type(self) -> str:
        """How transformers calls the kind of model; empty if the folder does not say."""
        return str(self.raw.get("model_type") or "")

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.json with the values that files of the hub leave out. Raises ModelError."""
        from transformers import AutoConfig

        try:
            read = AutoConfig.from_pretrained(
                str(self.folder), trust_remote_code=False, local_files_only=True
            )
        except Exception as error:  # transformers raises many kinds
            why = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
            raise ModelError(
                f"{self.folder / 'config.json'} cannot be used: {why.rstrip('.')}.",
                cure="Download it again, or update transformers.",
            ) from None
        return dict(read.to_dict())

    @cached_property
    def tensors(self) -> dict[str, Stored]:
        """Every tensor by name. Raises ModelError for half a download."""
        return find_tensors(self.folder)

    def under(self, *prefixes: str) -> dict[str, str]:
        """Names of tensors without their prefix -> with it; of each the first prefix counts."""
        found: dict[str, str] = {}
        for prefix in prefixes:
            for name in self.tensors:
                if name.startswith(prefix):
                    found.setdefault(name[len(prefix) :], name)
        return found

    def count(self, *prefixes: str) -> int:
        """Numbers in the tensors whose names begin so."""
        return sum(
            stored.count for name, stored in self.tensors.items() if name.startswith(prefixes)
        )

    def fill(self, module: nn.Module, *prefixes: str) -> None:
        """Give `module` the tensors below one of `prefixes`, as float32; see `unread`.

        Names and shapes must be the module's. Raises ModelError for what is missing or differs.
        """
        names = self.under(*prefixes)
        wanted = module.state_dict(keep_vars=True)
        if missing := sorted(wanted.keys() - names.keys()):
            raise ModelError(
                f"{self.folder} has no tensor {prefixes[0]}{missing[0]}"
                + (f", nor {len(missing) - 1} others of this part." if missing[1:] else "."),
                cure="Take a checkpoint of the family as its makers publish it.",
            )
        for short, weight in wanted.items():
            stored = self.tensors[names[short]].shape
            # A convolution over one frame is a matrix.
            if stored not in (tuple(weight.shape), (*weight.shape, 1)):
                raise ModelError(
                    f"{names[short]} has the shape {list(stored)} instead of {list(weight.shape)}.",
                    cure="The configuration is not that of the weights: download both again.",
                )
        give(
            [
                (weight, partial(self._read, names[short], tuple(weight.shape)))
                for short, weight in wanted.items()
            ]
        )

    def _read(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A tensor as float32."""
        from safetensors import safe_open

        with safe_open(str(self.tensors[name].file), framework="pt") as opened:
            tensor: Tensor = opened.get_tensor(name)
        return tensor.float().reshape(shape)

    @property
    def licence(self) -> str:
        """The licence that the model card states, or that none is stated."""
        card = self.folder / "README.md"
        try:
            with card.open("rb") as stream:
                text = stream.read(_MOST_CARD_BYTES).decode("utf-8", "replace")
        except OSError:
            text = ""
        head = text.split("\n---", 1)[0] if text.startswith("---") else ""
        named = {kind or "": name.strip() for kind, name in _LICENCE.findall(head)}
        name = named.get("_name") or named.get("")
        name = "".join(letter for letter in name or "" if letter.isprintable())[:200].strip()
        return f"{name} (as its card states)" if name else "not stated in the checkpoint"
