"""Qwen2-Audio: Whisper's encoder over what there is of 30 s, two frames a row."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from edge_audiokv.families.checkpoint import Checkpoint
from edge_audiokv.families.language import plain
from edge_audiokv.families.plan import Plan, Sound, Wording
from edge_audiokv.families.towers.layers import Stem, check_tower
from edge_audiokv.families.towers.mel import HOP, RATE_HZ, LogMel

TOWER = ("model.audio_tower.", "audio_tower.")
PROJECTOR = ("model.multi_modal_projector.", "multi_modal_projector.")
_POSITIONS_S = 30
# The reference pads with silence to 30 s and hides it; what the convolutions see of it is enough.
_SILENCE = 4 * HOP


class Projector(nn.Module):
    """Rows [1, T, width] -> [1, T, out]."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        rows: Tensor = self.linear(x)
        return rows


class Encoder(Stem):
    """The stem with two frames averaged before its norm."""

    def forward(self, mel: Tensor, frames: int | None = None) -> Tensor:
        x = self.listened(mel, frames)
        normed: Tensor = self.layer_norm((x[:, 0::2] + x[:, 1::2]) / 2)
        return normed


class Tower(nn.Module):
    """Samples [1, S] -> rows [1, S / 640, out], S a multiple of 640 up to 30 s."""

    def __init__(self, config: dict[str, Any], projector: nn.Module) -> None:
        super().__init__()
        self.mel = LogMel(config["num_mel_bins"])
        self.audio_tower = Encoder(config)
        self.multi_modal_projector = projector

    def forward(self, audio: Tensor) -> Tensor:
        frames = audio.shape[1] // (4 * HOP) * 2
        padded = nn.functional.pad(audio, (0, _SILENCE))[:, : _POSITIONS_S * RATE_HZ]
        rows: Tensor = self.multi_modal_projector(self.audio_tower(self.mel(padded), frames))
        return rows


def read(checkpoint: Checkpoint) -> Plan:
    audio, text = checkpoint.config["audio_config"], checkpoint.config["text_config"]
    check_tower(audio)
    language = plain(checkpoint, text)

    def tower() -> nn.Module:
        made = Tower(audio, Projector(audio["d_model"], text["hidden_size"]))
        checkpoint.fill(made.audio_tower, *TOWER)
        checkpoint.fill(made.multi_modal_projector, *PROJECTOR)
        return made

    return Plan(
        family="Qwen2-Audio",
        folder=checkpoint.folder,
        sound=Sound(tokens_per_second=RATE_HZ / (4 * HOP), max_audio_s=_POSITIONS_S),
        wording=Wording(
            template="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
            "<|im_start|>user\nAudio 1: <|audio_bos|>{audio}<|audio_eos|>\n{question}<|im_end|>\n"
            "<|im_start|>assistant\n",
            end_of_turn="<|im_end|>\n",
            question="Transcribe the audio.",
            ask="<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
        ),
        language=language,
        tower=tower,
        tower_count=checkpoint.count(*TOWER, *PROJECTOR),
        licences=dict.fromkeys(("encoder", "llm"), checkpoint.licence),
    )
