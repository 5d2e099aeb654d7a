"""Write the language model of a checkpoint as a GGUF, in a process of its own.

llama.cpp's converter reads the tensors one by one; what it imports and holds is not the caller's:

    python -m edge_audiokv.families.split JOB.json ...
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

# Pre-tokenizers of byte-level BPE by their own split pattern, under llama.cpp's names. It knows
# tokenizers by a hash of what they make of a text, which every added token changes.
PATTERNS = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": "llama-bpe",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": "qwen2",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+": "tekken",
}

# Of a table that is converted in parts: its numbers, and those of a part.
_LARGE, _PART_NUMBERS = 1 << 24, 1 << 22


class Refused(Exception):
    """Why the language model cannot be written."""


def find_pattern(tokenizer: dict[str, Any]) -> str | None:
    """llama.cpp's name for the pre-tokenizer in a tokenizer.json, or None."""
    steps = tokenizer.get("pre_tokenizer") or {}
    for step in [steps, *(steps.get("pretokenizers") or ())]:
        pattern = (step.get("pattern") or {}).get("Regex")
        if pattern is not None:
            return PATTERNS.get(pattern)
    return None


def renamed(name: str, prefixes: Sequence[Sequence[str]]) -> str | None:
    """A tensor's name in the plain architecture, or None if it is not the language model's."""
    for old, new in prefixes:
        if name.startswith(old):
            return new + name[len(old) :]
    return None


def _adapter(job: dict[str, Any] | None) -> dict[str, list[Any]]:
    """What makes A and B of an adapter, by the weight that they are for; nothing is read yet."""
    if job is None:
        return {}
    gguf: Any = importlib.import_module("gguf")
    lazy: Any = importlib.import_module("conversion.base").LazyTorchTensor
    with gguf.utility.SafetensorsLocal(Path(job["file"])) as file:
        return {
            name: [partial(lazy.from_local_tensor, file[part]) for part in pair]
            for name, pair in job["pairs"].items()
        }


def _merged(make: Any, down: Any, up: Any, scale: float) -> Any:
    """A weight with its part of an adapter in it, computed when it is written."""
    return make().float() + (up().float() @ down().float()) * scale


def _in_parts(gguf: Any, to_eager: Any, make: Any, shape: tuple[int, ...]) -> Any:
    """A table that is read, rounded and written some rows at a time."""

    def rows(first: int, last: int) -> Any:
        return to_eager(make())[first:last].float().numpy()

    count = max(1, _PART_NUMBERS // shape[1])
    starts = range(0, shape[0], count)
    parts = [partial(rows, start, min(start + count, shape[0])) for start in starts]
    return gguf.LazyChunkedTensor(parts, shape, "float32")


def _convert(job: dict[str, Any]) -> None:
    sys.path[:0] = [job["converter"], str(Path(job["converter"]) / "gguf-py")]
    conversion: Any = importlib.import_module("conversion")
    gguf: Any = importlib.import_module("gguf")
    torch: Any = importlib.import_module("torch")
    folder, tokenizer_folder = Path(job["folder"]), Path(job["tokenizer"])
    tokenizer_path = tokenizer_folder / "tokenizer.json"
    byte_level, pattern = False, None
    if tokenizer_path.is_file():
        tokenizer = json.loads(tokenizer_path.read_text(encoding="utf-8"))
        model = tokenizer.get("model") or {}
        byte_level = model.get("type") == "BPE" and not model.get("byte_fallback")
        pattern = find_pattern(tokenizer)
    base: Any = conversion.get_model_class(job["architecture"], mmproj=False)
    pairs = _adapter(job["adapter"])
    to_eager = importlib.import_module("conversion.base").LazyTorchTensor.to_eager
    # Of the largest tensors, the tables of tokens, what reads them.
    makers: dict[str, Any] = {}

    class Split(base):
        model_arch = base.model_arch

        @classmethod
        def filter_tensors(cls, item: tuple[str, Any]) -> Any:
            name = renamed(item[0], job["prefixes"])
            if name is None:
                return None
            make = item[1]
            if name in pairs:
                down, up = pairs[name]
                make = partial(_merged, make, down, up, job["adapter"]["scale"])
            else:
                makers[name] = make
            return super().filter_tensors((name, make))

        def modify_tensors(self, data_torch: Any, name: str, bid: int | None) -> Any:
            for new_name, made in super().modify_tensors(data_torch, name, bid):
                # By its shape alone: most other questions would have it read.
                shape = tuple(made.shape)
                large = len(shape) == 2 and shape[0] * shape[1] >= _LARGE
                if large and made is data_torch and name in makers:
                    made = _in_parts(gguf, to_eager, makers[name], shape)
                yield new_name, made

        def set_vocab(self) -> None:
            if not byte_level:
                raise Refused("its tokenizer is no byte-level BPE")
            self.dir_model = tokenizer_folder
            self._set_vocab_gpt2()
            self.dir_model = folder

        def get_vocab_base_pre(self, tokenizer: Any) -> str:
            try:
                return str(super().get_vocab_base_pre(tokenizer))
            except NotImplementedError:
                if pattern is None:
                    raise Refused("llama.cpp does not know its tokenizer") from None
                return pattern

    kind = gguf.LlamaFileType[job["ftype"]]
    with torch.inference_mode():
        Split(folder, kind, Path(job["target"]), hparams=job["config"]).write()


def _main(paths: list[str]) -> int:
    try:
        for path in paths:
            _convert(json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        print(f"cannot be written: {error.strerror or error}", file=sys.stderr)
        return 3
    except Exception as error:  # the converter raises whatever it likes
        lines = str(error).strip().splitlines() or [""]
        kind = "" if isinstance(error, Refused) else f"{type(error).__name__}: "
        print(f"{kind}{lines[0]}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
