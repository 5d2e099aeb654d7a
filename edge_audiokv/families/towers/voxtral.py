"""Voxtral: Whisper's encoder over whole windows of 30 s, four frames a row, nothing hidden."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from edge_audiokv.families.checkpoint import Checkpoint
from edge_audiokv.families.language import plain
from edge_audiokv.families.plan import Plan, Sound, Wording
from edge_audiokv.families.towers.layers import Perceptron, Stem, check_tower, whisper_names
from edge_audiokv.families.towers.mel import HOP, RATE_HZ, LogMel

_TOWER = ("model.audio_tower.", "audio_tower.")
_PROJECTOR = ("model.multi_modal_projector.", "multi_modal_projector.")


class Tower(nn.Module):
    """Samples [1, S] up to a window -> the rows of a whole one; the rest is silence."""

    def __init__(self, config: dict[str, Any], out: int) -> None:
        super().__init__()
        self.samples = 2 * HOP * config["max_source_positions"]
        self.mel = LogMel(config["num_mel_bins"])
        self.audio_tower = Stem(config)
        self.inner = config["encoder_ffn_dim"]
        self.multi_modal_projector = Perceptron(self.inner, out, out, bias=False)

    def forward(self, audio: Tensor) -> Tensor:
        padded = nn.functional.pad(audio, (0, self.samples))[:, : self.samples]
        frames = self.audio_tower(self.mel(padded)).reshape(1, -1, self.inner)
        rows: Tensor = self.multi_modal_projector(frames)
        return rows


def read(checkpoint: Checkpoint) -> Plan:
    config = checkpoint.config
    text = config["text_config"]
    audio = whisper_names(config["audio_config"])
    check_tower({**audio, "activation_function": config.get("projector_hidden_act", "gelu")})
    check_tower(audio)
    language = plain(checkpoint, text)
    window_s = 2 * HOP * audio["max_source_positions"] / RATE_HZ
    rows = audio["max_source_positions"] * audio["d_model"] // audio["encoder_ffn_dim"]

    def tower() -> nn.Module:
        made = Tower(audio, text["hidden_size"])
        checkpoint.fill(made.audio_tower, *_TOWER)
        checkpoint.fill(made.multi_modal_projector, *_PROJECTOR)
        return made

    return Plan(
        family="Voxtral",
        folder=checkpoint.folder,
        sound=Sound(
            tokens_per_second=rows / window_s,
            max_audio_s=window_s,
            token_rule="windows",
            block_s=window_s,
        ),
        wording=Wording(
            template="<s>[INST][BEGIN_AUDIO]{audio}{question}[/INST]",
            end_of_turn="</s>",
            question="Transcribe the audio.",
            ask="[INST]{question}[/INST]",
            in_language="<s>[INST][BEGIN_AUDIO]{audio}[/INST]lang:{code}[TRANSCRIBE]",
        ),
        language=language,
        tower=tower,
        tower_count=checkpoint.count(*_TOWER, *_PROJECTOR),
        licences=dict.fromkeys(("encoder", "llm"), checkpoint.licence),
        # Those that its makers' card lists.
        languages=("de", "en", "es", "fr", "hi", "it", "nl", "pt"),
        notes=("A short sound costs a whole window of rows, as its makers run it.",),
    )
