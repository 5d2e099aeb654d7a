"""The thinker of Qwen2.5-Omni: chunks of 2 s through Whisper's encoder, each for itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edge_audiokv.families.checkpoint import Checkpoint
from edge_audiokv.families.language import plain
from edge_audiokv.families.plan import Plan, Sound, Wording
from edge_audiokv.families.towers.layers import HIDDEN, make_layers, positions
from edge_audiokv.families.towers.mel import HOP, RATE_HZ
from edge_audiokv.families.towers.thinker import NOTE, TOWER, Tower, configs

_LONGEST_S = 30


class Encoder(nn.Module):
    """Log-mel [1, bins, n], n a multiple of 4 -> rows [1, n / 4, out]."""

    places: Tensor

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.bins, self.chunk = config["num_mel_bins"], 2 * config["n_window"]
        width = config["d_model"]
        self.conv1 = nn.Conv1d(self.bins, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.layers = make_layers(config, key_bias=False)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Linear(width, config["output_dim"])
        self.register_buffer("places", positions(self.chunk // 2, width), False)

    def forward(self, mel: Tensor) -> Tensor:
        n = mel.shape[2]
        chunks = (n + self.chunk - 1) // self.chunk
        padded = nn.functional.pad(mel, (0, self.chunk - 1))[:, :, : chunks * self.chunk]
        x = padded.reshape(self.bins, chunks, self.chunk).permute(1, 0, 2)
        sounds = (torch.arange(chunks * self.chunk) < n).reshape(chunks, 1, self.chunk)
        x = nn.functional.gelu(self.conv1(x)) * sounds
        x = nn.functional.gelu(self.conv2(x)).transpose(1, 2) + self.places
        bias = torch.where(sounds[:, None, :, ::2], 0.0, HIDDEN)
        for layer in self.layers:
            x = layer(x, bias)
        x = x.reshape(1, chunks * self.chunk // 2, -1)[:, : n // 2]
        rows: Tensor = self.proj(self.ln_post((x[:, 0::2] + x[:, 1::2]) / 2))
        return rows


def read(checkpoint: Checkpoint) -> Plan:
    audio, text = configs(checkpoint)
    language = plain(checkpoint, text)

    def tower() -> nn.Module:
        made = Tower(audio["num_mel_bins"], Encoder(audio))
        checkpoint.fill(made.audio_tower, *TOWER)
        return made

    return Plan(
        family="Qwen2.5-Omni",
        folder=checkpoint.folder,
        sound=Sound(
            tokens_per_second=RATE_HZ / (4 * HOP),
            max_audio_s=_LONGEST_S,
            chunk_s=2 * audio["n_window"] * HOP / RATE_HZ,
        ),
        wording=Wording(
            template="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
            "<|im_start|>user\n<|audio_bos|>{audio}<|audio_eos|>{question}<|im_end|>\n"
            "<|im_start|>assistant\n",
            end_of_turn="<|im_end|>\n",
            question="Transcribe the audio.",
            ask="<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
        ),
        language=language,
        tower=tower,
        tower_count=checkpoint.count(*TOWER),
        licences=dict.fromkeys(("encoder", "llm"), checkpoint.licence),
        notes=(NOTE,),
    )
