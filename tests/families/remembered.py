"""What transformers remembers of a prompt, whose rows can be dropped, moved and joined."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from .tiny import Array, Tiny

Places = NDArray[np.int64]


class Remembered:
    """Keys and values of a tiny checkpoint's LLM, each head with rows of its own: `keys` and
    `values` [H, T, D] of each layer, their `positions` [L, H, T], and the `next` one.
    """

    def __init__(self, tiny: Tiny) -> None:
        self.tiny = tiny
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        self.positions: Places = np.empty((0, 0, 0), np.int64)
        self.next = 0

    def copy(self) -> Remembered:
        made = Remembered(self.tiny)
        made.keys, made.values = list(self.keys), list(self.values)
        made.positions, made.next = self.positions, self.next
        return made

    def read(self, given: list[int] | Array) -> Array:
        """Read tokens, or rows [T, d_model]; the logits [V] of what follows."""
        rows = torch.as_tensor(given)
        if rows.ndim == 1:
            rows = self.tiny.model.get_input_embeddings()(rows)
        cache = DynamicCache()
        for at, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            cache.update(keys[None], values[None], at)
        places = torch.arange(self.next, self.next + len(rows))[None]
        with torch.no_grad():
            out = self.tiny.model(
                inputs_embeds=rows[None], position_ids=places, cache=cache, use_cache=True
            )
        self.keys = [layer.keys[0] for layer in cache.layers]
        self.values = [layer.values[0] for layer in cache.layers]
        new = np.broadcast_to(places.numpy(), (len(self.keys), len(self.keys[0]), len(rows)))
        old = self.positions if self.positions.size else new[..., :0]
        self.positions = np.concatenate([old, new], axis=2)
        self.next += len(rows)
        logits: Array = out.logits[0, -1].numpy() / self.tiny.logits_scaling
        return logits

    def keep(self, index: Places) -> None:
        """Leave rows `index` [L, H, n]."""
        picked = torch.from_numpy(index)[..., None]
        for held in (self.keys, self.values):
            held[:] = [torch.take_along_dim(x, n, 1) for x, n in zip(held, picked, strict=True)]
        self.positions = np.take_along_axis(self.positions, index, 2)

    def move(self, positions: Places, following: int) -> None:
        """Put each row at a position [L, H, T] of its own."""
        deltas = torch.from_numpy(positions - self.positions)
        self.keys = [self._turned(x, delta) for x, delta in zip(self.keys, deltas, strict=True)]
        self.positions, self.next = positions, following

    def append(self, other: Remembered) -> None:
        """Take the rows of another after one's own."""
        for mine, theirs in ((self.keys, other.keys), (self.values, other.values)):
            mine[:] = [torch.cat(rows, dim=1) for rows in zip(mine, theirs, strict=True)]
        self.positions = np.concatenate([self.positions, other.positions], axis=2)
        self.next = other.next

    def _turned(self, keys: torch.Tensor, deltas: torch.Tensor) -> torch.Tensor:
        """Keys [H, T, D] as they would be `deltas` [H, T] later: turned by the model's own angles,
        at the length that they have.
        """
        rotary: Any = self.tiny.model.get_decoder().rotary_emb
        streams = deltas.expand(3, *deltas.shape) if "mrope" in str(rotary.config) else deltas
        cos, sin = (angles / rotary.attention_scaling for angles in rotary(keys, streams))
        if cos.ndim == 4:  # of three equal streams
            cos, sin = cos[0], sin[0]
        turning, rest = keys[..., : cos.shape[-1]], keys[..., cos.shape[-1] :]
        first, second = turning.chunk(2, dim=-1)
        turned = turning * cos + torch.cat([-second, first], dim=-1) * sin
        return torch.cat([turned, rest], dim=-1)
