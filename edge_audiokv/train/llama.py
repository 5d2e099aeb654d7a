"""A small Llama (SmolLM2) in PyTorch, read from the very GGUF that is deployed, with LoRA.

Weights are dequantised and frozen; only the LoRA factors learn (Hu et al. 2021). q and k rows of a
llama-architecture GGUF are interleaved for RoPE; here they are put back into halves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_audiokv.train.projector import rms
from edge_audiokv.train.text import IM_END, llm_path
from edge_audiokv.train.whisper import attend

# Names of the adapted matrices: ours -> GGUF.
MATRICES = {
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
Cache = list[tuple[Tensor, Tensor] | None]


def to_halves(rows: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """llama.cpp's interleaved rows -> halves (the order that rotates (x[i], x[i + d/2]))."""
    shape = (heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return rows.reshape(shape).swapaxes(1, 2).reshape(rows.shape)


def to_interleaved(rows: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """The inverse of `to_halves`."""
    shape = (heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return rows.reshape(shape).swapaxes(1, 2).reshape(rows.shape)


def _tensor(entry: Any) -> npt.NDArray[np.float32]:
    import gguf

    flat = gguf.dequantize(entry.data, entry.tensor_type)
    # A copy: what the reader gives is mapped from the file and must not be written to.
    return np.array(flat.reshape(list(entry.shape)[::-1]), dtype=np.float32)


def embedding_table() -> Tensor:
    """The LLM's token embeddings [vocabulary, 576], float32."""
    import gguf

    reader = gguf.GGUFReader(str(llm_path()))
    entry = next(t for t in reader.tensors if t.name == "token_embd.weight")
    return torch.from_numpy(_tensor(entry))


class LoraLinear(nn.Module):
    """A frozen matrix and a trainable product of two thin ones: W x + (alpha / r) B A x."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        out, width = weight.shape
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.scale = alpha / rank
        self.a = nn.Parameter(torch.randn(rank, width) / math.sqrt(width))
        self.b = nn.Parameter(torch.zeros(out, rank))

    def forward(self, x: Tensor) -> Tensor:
        low = F.linear(x, self.a.to(x.dtype)) * self.scale
        return F.linear(x, self.weight) + F.linear(low, self.b.to(x.dtype))


class Layer(nn.Module):
    """Grouped-query attention with RoPE, then SwiGLU."""

    def __init__(self, weights: dict[str, Tensor], heads: tuple[int, int], rank: int) -> None:
        super().__init__()
        self.heads, self.kv_heads = heads
        self.attention_norm = nn.Parameter(weights["attn_norm"], requires_grad=False)
        self.ffn_norm = nn.Parameter(weights["ffn_norm"], requires_grad=False)
        for ours, theirs in MATRICES.items():
            self.add_module(ours, LoraLinear(weights[theirs], rank, 2.0 * rank))

    def keys_values(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Rotated keys and values [B, G, T, size] of inputs [B, T, d]."""
        b, t, d = x.shape
        y, size = rms(x, self.attention_norm), d // self.heads
        k = self.k(y).view(b, t, self.kv_heads, size).transpose(1, 2)
        v = self.v(y).view(b, t, self.kv_heads, size).transpose(1, 2)
        return rotate(k, rotation), v

    def forward(
        self,
        x: Tensor,
        rotation: tuple[Tensor, Tensor],
        mask: Tensor | None,
        cache: Cache | None,
        i: int,
    ) -> Tensor:
        b, t, d = x.shape
        size = d // self.heads
        y = rms(x, self.attention_norm)
        q = self.q(y).view(b, t, self.heads, size).transpose(1, 2)
        k = self.k(y).view(b, t, self.kv_heads, size).transpose(1, 2)
        v = self.v(y).view(b, t, self.kv_heads, size).transpose(1, 2)
        q, k = rotate(q, rotation), rotate(k, rotation)
        if cache is not None:
            past = cache[i]
            if past is not None:
                k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
            cache[i] = (k, v)
        group = self.heads // self.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        causal = mask is None and t > 1
        y = attend(q, k, v, mask, causal)
        x = x + self.o(y.transpose(1, 2).reshape(b, t, d))
        y = rms(x, self.ffn_norm)
        y = self.down(F.silu(self.gate(y)) * self.up(y))
        return x + y


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """RoPE on halves; cos and sin broadcast to [..., T, size / 2]."""
    cos, sin = rotation
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


@dataclass
class Memory:
    """What each layer was given to read [1, T, d], in order, and the rotation of its places."""

    inputs: list[Tensor]
    rotation: tuple[Tensor, Tensor]


def groups_of_like_length(lengths: list[int], waste: float = 0.2) -> list[list[int]]:
    """Indices in groups, of whose padded rows at most `waste` are padding."""
    groups: list[list[int]] = []
    total = 0
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        padded = lengths[i] * (len(groups[-1]) + 1) if groups else 0
        if not groups or padded - total - lengths[i] > waste * padded:
            groups.append([])
            total = 0
        groups[-1].append(i)
        total += lengths[i]
    return groups


class Llama(nn.Module):
    """Embeddings in, hidden states out; `logits` ties to the embedding table."""

    cos: Tensor
    sin: Tensor

    def __init__(self, rank: int = 16, dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        import gguf

        reader = gguf.GGUFReader(str(llm_path()))

        def setting(name: str) -> Any:
            return reader.fields[f"llama.{name}"].contents()

        stored = {t.name: t for t in reader.tensors}
        self.heads = int(setting("attention.head_count"))
        self.kv_heads = int(setting("attention.head_count_kv"))
        self.rank = rank

        def get(name: str, heads: int = 0) -> Tensor:
            rows = _tensor(stored[name])
            return torch.from_numpy(np.ascontiguousarray(to_halves(rows, heads) if heads else rows))

        self.embeddings = nn.Parameter(get("token_embd.weight").to(dtype), requires_grad=False)
        self.norm = nn.Parameter(get("output_norm.weight"), requires_grad=False)
        layers = []
        for i in range(int(setting("block_count"))):
            heads = {"attn_q": self.heads, "attn_k": self.kv_heads}
            weights = {
                n: get(f"blk.{i}.{n}.weight", heads.get(n, 0)).to(dtype) for n in MATRICES.values()
            }
            for norm in ("attn_norm", "ffn_norm"):
                weights[norm] = get(f"blk.{i}.{norm}.weight")
            layers.append(Layer(weights, (self.heads, self.kv_heads), rank))
        self.layers = nn.ModuleList(layers)
        size = self.embeddings.shape[1] // self.heads
        rate = float(setting("rope.freq_base")) ** (-torch.arange(0, size, 2).float() / size)
        angle = torch.outer(torch.arange(int(setting("context_length"))).float(), rate)
        self.register_buffer("cos", angle.cos().to(dtype), False)
        self.register_buffer("sin", angle.sin().to(dtype), False)

    def forward(
        self,
        x: Tensor,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Embeddings [B, T, d] -> hidden [B, T, d]; causal unless a mask [B, 1, T, S] is given."""
        if positions is None:
            rotation = self.cos[: x.shape[1]], self.sin[: x.shape[1]]
        else:
            rotation = self.cos[positions][:, None], self.sin[positions][:, None]
        for i, layer in enumerate(self.layers):
            x = layer(x, rotation, mask, cache, i)
        return rms(x, self.norm)

    def read_turns(
        self, turns: list[Tensor], places: list[Tensor] | None = None, *, deep: bool = True
    ) -> Memory:
        """Turns [T_i, d], each read alone and then put one after another, as a session remembers
        segments that it decoded in a fresh context.

        `places` [T_i] are ascending positions within each turn, the last of which ends it; by
        default there are no gaps.
        If not `deep`, gradients reach each layer's own keys and values and go no further, so that
        minutes of sound fit into memory, and the same reading serves several updates.
        """
        places = places or [torch.arange(len(turn)) for turn in turns]
        starts = torch.tensor([0, *(int(place[-1]) + 1 for place in places[:-1])]).cumsum(0)
        at = torch.cat([start + place for start, place in zip(starts, places, strict=True)])
        first_row = torch.tensor([0, *map(len, turns[:-1])]).cumsum(0).tolist()
        rows: list[list[Tensor]] = [[] for _ in self.layers]
        order = []
        for group in groups_of_like_length([len(turn) for turn in turns]):
            x = torch.nn.utils.rnn.pad_sequence([turns[i] for i in group], batch_first=True)
            lengths = torch.tensor([len(turns[i]) for i in group])
            real = torch.arange(x.shape[1]) < lengths[:, None]
            within = torch.nn.utils.rnn.pad_sequence([places[i] for i in group], batch_first=True)
            alone = self.cos[within][:, None], self.sin[within][:, None]
            order += [first_row[i] + j for i in group for j in range(len(turns[i]))]
            for i, layer in enumerate(self.layers):
                rows[i].append(x[real])
                with torch.set_grad_enabled(deep and torch.is_grad_enabled()):
                    x = layer(x, alone, None, None, i)
        back = torch.tensor(order).argsort()
        inputs = [torch.cat(parts)[back][None] for parts in rows]
        return Memory(inputs, (self.cos[at], self.sin[at]))

    def cache_of(self, memory: Memory) -> Cache:
        """Keys and values of what was read, made by the adapter as it is now."""
        return [
            layer.keys_values(x, memory.rotation)
            for layer, x in zip(self.layers, memory.inputs, strict=True)
        ]

    def remember(
        self, turns: list[Tensor], places: list[Tensor] | None = None, *, deep: bool = True
    ) -> Cache:
        """The cache of turns that were each read alone (`read_turns`)."""
        return self.cache_of(self.read_turns(turns, places, deep=deep))

    def embed(self, ids: list[int]) -> Tensor:
        rows: Tensor = self.embeddings[torch.tensor(ids, dtype=torch.long)]
        return rows

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.embeddings)

    def lora_parameters(self) -> Iterator[nn.Parameter]:
        return (p for p in self.parameters() if p.requires_grad)

    def lora_state(self) -> dict[str, Tensor]:
        return {k: v for k, v in self.state_dict().items() if k.endswith((".a", ".b"))}

    def load_lora(self, saved: dict[str, Tensor]) -> None:
        self.load_state_dict(saved, strict=False)

    @torch.no_grad()
    def generate(self, prompts: list[Tensor], max_new: int) -> list[list[int]]:
        """Greedy continuation of embedded prompts [T_i, d], left-padded into one batch."""
        longest = max(len(p) for p in prompts)
        x = torch.zeros(len(prompts), longest, prompts[0].shape[1], dtype=self.embeddings.dtype)
        real = torch.zeros(len(prompts), longest, dtype=torch.bool)
        for i, prompt in enumerate(prompts):
            x[i, longest - len(prompt) :] = prompt
            real[i, longest - len(prompt) :] = True
        positions = (real.long().cumsum(1) - 1).clamp(min=0)
        square = torch.ones(longest, longest, dtype=torch.bool)
        # A padded row must see something: let it see itself.
        mask = (square.tril()[None] & real[:, None]) | torch.eye(longest, dtype=torch.bool)[None]
        cache: Cache = [None] * len(self.layers)
        hidden = self(x, positions, mask[:, None], cache)
        token = self.logits(hidden[:, -1]).argmax(-1)
        place = positions[:, -1]
        out: list[list[int]] = [[] for _ in prompts]
        done = [False] * len(prompts)
        for _ in range(max_new):
            for i, t in enumerate(token.tolist()):
                done[i] = done[i] or t == IM_END
                if not done[i]:
                    out[i].append(t)
            if all(done):
                break
            real = torch.cat([real, torch.ones(len(prompts), 1, dtype=torch.bool)], 1)
            place = place + 1
            step = self.embeddings[token][:, None]
            hidden = self(step, place[:, None], real[:, None, None], cache)
            token = self.logits(hidden[:, -1]).argmax(-1)
        return out
