"""Qwen3-ASR: chunks of a second through 2-D convolutions, attention within windows of 8 s."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edge_audiokv.errors import ModelError
from edge_audiokv.families.checkpoint import Checkpoint
from edge_audiokv.families.language import plain
from edge_audiokv.families.plan import Plan, Sound, Wording
from edge_audiokv.families.towers.layers import (
    HIDDEN,
    Perceptron,
    check_tower,
    make_layers,
    positions,
)
from edge_audiokv.families.towers.mel import HOP, RATE_HZ, LogMel

_TOWER, _PROJECTOR = "model.audio_tower.", "model.multi_modal_projector."
# Shorter sound is padded to this length, as the reference does.
_LEAST_SAMPLES = 8000
_WINDOWS = 4
_TEMPLATE = (
    "<|im_start|>system\n{hotwords}<|im_end|>\n<|im_start|>user\n<|audio_start|>{audio}<|audio_end|>"
    "<|im_end|>\n<|im_start|>assistant\n"
)
# As its processor names them.
_LANGUAGES = (
    *("ar", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "hi", "hu", "id", "it", "ja"),
    *("ko", "mk", "ms", "nl", "pl", "pt", "ro", "ru", "sv", "th", "tl", "tr", "vi", "yue", "zh"),
)


def halved(frames: Any) -> Any:
    """How many frames three convolutions of stride 2 leave."""
    for _ in range(3):
        frames = (frames - 1) // 2 + 1
    return frames


class Encoder(nn.Module):
    """Log-mel [1, bins, n] -> frames [1, T, width]; T is `rows` a whole chunk, fewer of the last.

    Positions begin anew in each chunk, and attention ends at the windows' ends. A last chunk is
    filled with zeros before the convolutions; with `short` not one that is alone, so that they end
    where it ends.
    """

    places: Tensor

    def __init__(self, config: dict[str, Any], *, short: bool = False) -> None:
        super().__init__()
        self.short = short
        self.bins = config["num_mel_bins"]
        self.chunk = 2 * config["n_window"]
        self.window = config["n_window_infer"] // self.chunk
        self.rows = halved(self.chunk)
        width, inner = config["d_model"], config["downsample_hidden_size"]
        self.conv2d1 = nn.Conv2d(1, inner, 3, 2, padding=1)
        self.conv2d2 = nn.Conv2d(inner, inner, 3, 2, padding=1)
        self.conv2d3 = nn.Conv2d(inner, inner, 3, 2, padding=1)
        self.conv_out = nn.Linear(inner * halved(self.bins), width, bias=False)
        self.layers = make_layers(config, key_bias=True)
        self.ln_post = nn.LayerNorm(width)
        self.register_buffer("places", positions(self.rows, width), False)

    def forward(self, mel: Tensor) -> Tensor:
        n = mel.shape[2]
        chunks = (n + self.chunk - 1) // self.chunk
        total = (chunks - 1) * self.rows + halved(n - (chunks - 1) * self.chunk)
        padded = nn.functional.pad(mel, (0, self.chunk - 1))[:, :, : chunks * self.chunk]
        x = padded.reshape(self.bins, chunks, self.chunk).permute(1, 0, 2)[:, None]
        frames = n
        for conv in (self.conv2d1, self.conv2d2, self.conv2d3):
            x = nn.functional.gelu(conv(x))
            frames = (frames - 1) // 2 + 1
            if self.short:
                inside = torch.arange(x.shape[3]) < frames
                x = x * (inside | torch.as_tensor(chunks > 1))
        x = self.conv_out(x.permute(0, 3, 1, 2).reshape(chunks, self.rows, -1)) + self.places
        # As many whole windows as there is sound in, as a batch; what is no sound is not looked at.
        size = self.window * self.rows
        windows = (chunks + self.window - 1) // self.window
        x = nn.functional.pad(
            x.reshape(1, chunks * self.rows, -1), (0, 0, 0, (self.window - 1) * self.rows)
        )[:, : windows * size].reshape(windows, size, -1)
        sounds = torch.arange(windows * size).reshape(windows, 1, 1, size) < total
        bias = torch.where(sounds, 0.0, HIDDEN)
        for layer in self.layers:
            x = layer(x, bias)
        normed: Tensor = self.ln_post(x.reshape(1, windows * size, -1)[:, :total])
        return normed


class Tower(nn.Module):
    """Samples [1, S] -> rows [1, T, out], 13 a second of sound."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.mel = LogMel(config["num_mel_bins"])
        self.audio_tower = Encoder(config)
        self.multi_modal_projector = Perceptron(
            config["d_model"], config["d_model"], config["output_dim"]
        )

    def forward(self, audio: Tensor) -> Tensor:
        n = audio.shape[1]
        n = n.clamp(min=_LEAST_SAMPLES) if isinstance(n, Tensor) else max(n, _LEAST_SAMPLES)
        padded = nn.functional.pad(audio, (0, _LEAST_SAMPLES))[:, :n]
        rows: Tensor = self.multi_modal_projector(self.audio_tower(self.mel(padded)))
        return rows


def sound_of(config: dict[str, Any]) -> Sound:
    """Rows by the chunk; long sound is cut where attention ends anyway."""
    chunk_s = 2 * config["n_window"] * HOP / RATE_HZ
    window_s = config["n_window_infer"] * HOP / RATE_HZ
    return Sound(
        tokens_per_second=halved(2 * config["n_window"]) / chunk_s,
        max_audio_s=_WINDOWS * window_s,
        token_rule="blocks",
        block_s=chunk_s,
        chunk_s=window_s,
    )


def read(checkpoint: Checkpoint) -> Plan:
    """Raises ModelError for the older layout of its makers' own program."""
    if "thinker_config" in checkpoint.raw:
        raise ModelError(
            f"{checkpoint.folder} is Qwen3-ASR in the layout of its makers' own program.",
            cure="Take the checkpoint whose name ends with -hf.",
        )
    audio, text = checkpoint.config["audio_config"], checkpoint.config["text_config"]
    check_tower(audio)
    language = plain(checkpoint, text)

    def tower() -> nn.Module:
        made = Tower(audio)
        checkpoint.fill(made.audio_tower, _TOWER)
        checkpoint.fill(made.multi_modal_projector, _PROJECTOR)
        return made

    return Plan(
        family="Qwen3-ASR",
        folder=checkpoint.folder,
        sound=sound_of(audio),
        wording=Wording(
            template=_TEMPLATE,
            in_language=f"{_TEMPLATE}language {{language}}<asr_text>",
            end_of_turn="<|im_end|>\n",
            answer_after="<asr_text>",
        ),
        language=language,
        tower=tower,
        tower_count=checkpoint.count(_TOWER, _PROJECTOR),
        licences=dict.fromkeys(("encoder", "llm"), checkpoint.licence),
        languages=_LANGUAGES,
        notes=("It transcribes; it answers no questions.",),
    )
