"""What the thinkers of Qwen's Omni models share: they hear and write, without eyes and voice."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from edge_audiokv.families.checkpoint import Checkpoint
from edge_audiokv.families.towers.layers import check_tower
from edge_audiokv.families.towers.mel import HOP, LogMel

TOWER = ("thinker.audio_tower.", "model.audio_tower.", "audio_tower.")
NOTE = "It hears and writes; it neither sees nor speaks here."
# Silence follows the sound in the reference; the mel's last frames see some of it.
_SILENCE_FRAMES = 2


class Tower(nn.Module):
    """Samples [1, S] -> rows [1, T, out] by an `encoder` of log-mels [1, bins, n]."""

    def __init__(self, bins: int, encoder: nn.Module) -> None:
        super().__init__()
        self.mel = LogMel(bins)
        self.audio_tower = encoder

    def forward(self, audio: Tensor) -> Tensor:
        mel = self.mel(nn.functional.pad(audio, (0, _SILENCE_FRAMES * HOP)))
        rows: Tensor = self.audio_tower(mel[:, :, :-_SILENCE_FRAMES])
        return rows


def configs(checkpoint: Checkpoint) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the encoder and of the LLM, from a whole model or from its thinker alone."""
    config = checkpoint.config.get("thinker_config") or checkpoint.config
    check_tower(config["audio_config"])
    return config["audio_config"], config["text_config"]
