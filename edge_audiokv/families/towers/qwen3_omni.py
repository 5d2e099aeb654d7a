"""The thinker of Qwen3-Omni: the encoder of Qwen3-ASR, over a mixture of experts."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from edge_audiokv.families.checkpoint import Checkpoint
from edge_audiokv.families.language import plain
from edge_audiokv.families.plan import Plan, Sound
from edge_audiokv.families.towers.layers import check_tower
from edge_audiokv.families.towers.mel import HOP, RATE_HZ, LogMel
from edge_audiokv.families.towers.qwen3_asr import Encoder, halved
from edge_audiokv.families.wording import from_chat_template

_TOWER = ("thinker.audio_tower.", "model.audio_tower.", "audio_tower.")
_WINDOWS = 4
# Silence follows the sound in the reference; the mel's last frames see some of it.
_SILENCE_FRAMES = 2
_PLACEHOLDER = "<|audio_pad|>"


class Projected(Encoder):
    """Log-mel [1, bins, n] -> rows [1, T, out]; the projector lies inside the encoder here."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config, short=True)
        self.proj1 = nn.Linear(config["d_model"], config["d_model"])
        self.proj2 = nn.Linear(config["d_model"], config["output_dim"])

    def forward(self, mel: Tensor) -> Tensor:
        rows: Tensor = self.proj2(nn.functional.gelu(self.proj1(super().forward(mel))))
        return rows


class Tower(nn.Module):
    """Samples [1, S] -> rows [1, T, out], 13 a second of sound."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.mel = LogMel(config["num_mel_bins"])
        self.audio_tower = Projected(config)

    def forward(self, audio: Tensor) -> Tensor:
        mel = self.mel(nn.functional.pad(audio, (0, _SILENCE_FRAMES * HOP)))
        rows: Tensor = self.audio_tower(mel[:, :, :-_SILENCE_FRAMES])
        return rows


def read(checkpoint: Checkpoint) -> Plan:
    config = checkpoint.config.get("thinker_config") or checkpoint.config
    audio, text = config["audio_config"], config["text_config"]
    check_tower(audio)
    language = plain(checkpoint, text)
    chunk_s = 2 * audio["n_window"] * HOP / RATE_HZ
    window_s = audio["n_window_infer"] * HOP / RATE_HZ

    def tower() -> nn.Module:
        made = Tower(audio)
        checkpoint.fill(made.audio_tower, *_TOWER)
        return made

    return Plan(
        family="Qwen3-Omni",
        folder=checkpoint.folder,
        sound=Sound(
            tokens_per_second=halved(2 * audio["n_window"]) / chunk_s,
            max_audio_s=_WINDOWS * window_s,
            token_rule="blocks",
            block_s=chunk_s,
            chunk_s=window_s,
        ),
        wording=from_chat_template(
            checkpoint.folder,
            [{"type": "audio"}, {"type": "text", "text": "{question}"}],
            "Transcribe the audio.",
            placeholder=_PLACEHOLDER,
        ),
        language=language,
        tower=tower,
        tower_count=checkpoint.count(*_TOWER),
        licences=dict.fromkeys(("encoder", "llm"), checkpoint.licence),
        notes=("It hears and writes; it neither sees nor speaks here.",),
    )
