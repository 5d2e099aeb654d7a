"""Music Flamingo: Audio Flamingo 3, whose rows are turned by the time that they are of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edge_audiokv.errors import ModelError
from edge_audiokv.families.checkpoint import Checkpoint
from edge_audiokv.families.plan import Plan
from edge_audiokv.families.towers import audio_flamingo

_FRAME_S, _ROW_FRAMES = 0.01, 4
_ROWS = 750


class Turned(nn.Module):
    """A projector of rows [1, T, width], each turned by its seconds since the window's beginning.

    Of the two axes that angles have in the reference the first is the number of the window, which
    is 0 here: its pairs are not turned.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, width: int, rope: dict[str, Any], projector: nn.Module) -> None:
        super().__init__()
        self.projector = projector
        size, base = int(width * rope.get("partial_rotary_factor", 1.0)), rope["rope_theta"]
        # In the reference's order and its 32 bits: the angles are of hundreds of radians.
        rates = 1.0 / (base ** (torch.arange(0, size, 2, dtype=torch.float) / size))
        places = torch.arange(_ROWS, dtype=torch.float) / base * (2 * torch.pi)
        of_time = torch.repeat_interleave(places[:, None] * rates, 2, dim=-1)
        seconds = torch.arange(_ROWS, dtype=torch.float) * (_FRAME_S * _ROW_FRAMES)
        angles = of_time * (-seconds * 2 * torch.pi)[:, None]
        self.first, self.last = size, size + of_time.shape[1]
        self.register_buffer("cos", angles.cos(), False)
        self.register_buffer("sin", angles.sin(), False)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.shape[1]
        part = x[..., self.first : self.last]
        pairs = part.reshape(1, rows, -1, 2)
        other = torch.stack([-pairs[..., 1], pairs[..., 0]], -1).reshape(part.shape)
        turned = part * self.cos[:rows] + other * self.sin[:rows]
        whole = torch.cat([x[..., : self.first], turned, x[..., self.last :]], -1)
        made: Tensor = self.projector(whole)
        return made


def read(checkpoint: Checkpoint) -> Plan:
    """Raises ModelError for settings that no checkpoint of the family has."""
    config = checkpoint.config
    width, rope = config["audio_config"]["hidden_size"], config["rope_parameters"] or {}
    share = rope.get("partial_rotary_factor", 1.0)
    faults = {
        "rope_type": rope.get("rope_type", "default") != "default",
        "rope_theta": not _ROWS <= rope.get("rope_theta", 0) < 1e6,
        "partial_rotary_factor": not 0 < 2 * int(width * share) <= width,
        "audio_frame_step": config.get("audio_frame_step", _FRAME_S) != _FRAME_S,
    }
    for name, wrong in faults.items():
        if wrong:
            raise ModelError(
                f"This Music Flamingo has another {name} than its makers' checkpoint.",
                cure="Take nvidia/music-flamingo-2601-hf.",
            )
    return audio_flamingo.planned(
        checkpoint,
        family="Music Flamingo",
        question="Describe this music.",
        markers=("<|sound_bos|>", "<|sound_eos|>"),
        turned=lambda projector: Turned(width, rope, projector),
        notes=("Of sound above 30 s each window counts its time from its own beginning.",),
    )
