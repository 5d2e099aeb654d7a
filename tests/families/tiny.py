"""Tiny random checkpoints of the real classes, and what transformers makes of a sound with them.

Weights are drawn harshly: at a model's own initialisation even a wrong tower is near the right one.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sized
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import PreTrainedTokenizerFast

from edge_audiokv.families.split import PATTERNS

Array = NDArray[np.float32]
LLM = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
    "initializer_range": 0.15,
}
TOWER = {
    "d_model": 64,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 128,
    "num_mel_bins": 128,
}
# The same under the names of newer configurations.
ENCODER = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "num_mel_bins": 128,
}
# As the processors' templates have it: parts of a turn in their order.
PARTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for part in m.content %}"
    "{% if part.type == 'audio' %}SOUND{% else %}{{ part.text }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_WORDS = "the quick brown fox transcribe the audio please user assistant what is said here"
_PATTERN = {name: pattern for pattern, name in PATTERNS.items()}


def sound(seconds: float, seed: int = 0) -> Array:
    """Tones under a slow envelope, with noise: float32 [S] at 16 kHz, S a multiple of 160."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * 100) * 160) / 16_000
    tones = sum(
        np.sin(2 * np.pi * hz * time_s + rng.uniform(0, 6)) * rng.uniform(0.02, 0.2)
        for hz in (120, 240, 700, 1800, 3100)
    )
    slow = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * time_s)
    noise = 0.01 * rng.standard_normal(len(time_s))
    return np.asarray(tones * slow + noise, dtype=np.float32)


def write_tokenizer(
    folder: Path, specials: list[str], pattern: str, *, template: str = "", **names: str
) -> PreTrainedTokenizerFast:
    """A byte-level BPE of some 400 tokens with the split of a real one; `names` as bos_token."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN[pattern]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    raw.train_from_iterator([_WORDS] * 20, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=raw, **names)
    made.add_special_tokens({"additional_special_tokens": specials})
    if template:
        made.chat_template = template
    made.save_pretrained(str(folder))
    return made


def padded_size(tokenizer: Sized) -> int:
    """Vocabularies of real models are padded, too."""
    return (len(tokenizer) + 63) // 64 * 64


def draw(module: nn.Module) -> None:
    """Weights of a tower that no mistake gets past."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if "embed_positions" in name:
                weight.normal_(0, 0.3)
            elif name.endswith("bias"):
                weight.normal_(0, 0.05)
            elif weight.ndim >= 2:
                weight.normal_(0, 0.12)
            else:
                weight.normal_(1, 0.2)


def plant_code(folder: Path, mark: Path) -> None:
    """Code in a checkpoint that makes `mark` if anything runs it."""
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass C: pass\n")
    classes = {"AutoConfig": "evil.C", "AutoModel": "evil.C", "AutoTokenizer": ["evil.C", "evil.C"]}
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, "auto_map": classes}))


class Tiny:
    """A checkpoint in `folder`, and its reference."""

    name: ClassVar[str]
    specials: ClassVar[list[str]]
    pattern: ClassVar[str] = "qwen2"
    lengths_s: ClassVar[tuple[float, ...]]
    """The shortest, a boundary of chunks, an ordinary one, and the longest window."""
    logits_scaling: ClassVar[float] = 1.0
    """What the logits of the class that hears are divided by where it only reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        torch.manual_seed(5)
        self.make()

    @abstractmethod
    def make(self) -> None:
        """Write the checkpoint and keep the model as `self.model`."""

    @abstractmethod
    def rows(self, audio: Array) -> torch.Tensor:
        """Rows [T, d_model] that the reference makes of samples [S]."""

    def parts(self) -> dict[str, Path]:
        """What else the converter is told."""
        return {}

    def tokens(self, *specials: str) -> dict[str, int]:
        ids = self.tokenizer.convert_tokens_to_ids(list(specials))
        return dict(zip(specials, ids, strict=True))

    def greedy(
        self, before: list[int], rows: Array, after: list[int], count: int
    ) -> tuple[list[int], list[Array]]:
        """The likeliest tokens, one after the other, and the logits [V] that each was chosen by."""
        table = self.model.get_input_embeddings()
        with torch.no_grad():
            parts = [table(torch.tensor([before])), torch.as_tensor(rows)[None]]
            embeds, cache = torch.cat([*parts, table(torch.tensor([after]))], dim=1), None
            tokens: list[int] = []
            steps: list[Array] = []
            for _ in range(count):
                out = self.model(inputs_embeds=embeds, use_cache=True, **_given(cache))
                cache = out.get("cache", out.get("past_key_values"))
                steps.append(out.logits[0, -1].numpy() / self.logits_scaling)
                tokens.append(int(steps[-1].argmax()))
                embeds = table(torch.tensor([tokens[-1:]]))
        return tokens, steps

    model: Any
    tokenizer: Any


def _given(cache: Any) -> dict[str, Any]:
    import inspect

    from transformers import LlamaForCausalLM

    if cache is None:
        return {}
    known = inspect.signature(LlamaForCausalLM.forward).parameters
    return {"cache" if "cache" in known else "past_key_values": cache}
