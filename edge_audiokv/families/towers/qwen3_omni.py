"""The thinker of Qwen3-Omni: the encoder of Qwen3-ASR, over a mixture of experts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from edge_audiokv.families.checkpoint import Checkpoint
from edge_audiokv.families.language import plain
from edge_audiokv.families.plan import Plan
from edge_audiokv.families.towers.qwen3_asr import Encoder, sound_of
from edge_audiokv.families.towers.thinker import NOTE, TOWER, Tower, configs
from edge_audiokv.families.wording import from_chat_template

_PLACEHOLDER = "<|audio_pad|>"
# That it hears, as its makers list them; it writes more.
_LANGUAGES = (
    *("ar", "de", "en", "es", "fr", "id", "it", "ja", "ko", "ms", "nl", "pt", "ru", "tr", "ur"),
    *("vi", "yue", "zh"),
)


class Projected(Encoder):
    """Log-mel [1, bins, n] -> rows [1, T, out]; the projector lies inside the encoder here."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config, short=True)
        self.proj1 = nn.Linear(config["d_model"], config["d_model"])
        self.proj2 = nn.Linear(config["d_model"], config["output_dim"])

    def forward(self, mel: Tensor) -> Tensor:
        rows: Tensor = self.proj2(nn.functional.gelu(self.proj1(super().forward(mel))))
        return rows


def read(checkpoint: Checkpoint) -> Plan:
    audio, text = configs(checkpoint)
    language = plain(checkpoint, text)

    def tower() -> nn.Module:
        made = Tower(audio["num_mel_bins"], Projected(audio))
        checkpoint.fill(made.audio_tower, *TOWER)
        return made

    return Plan(
        family="Qwen3-Omni",
        folder=checkpoint.folder,
        sound=sound_of(audio),
        wording=replace(
            from_chat_template(
                checkpoint.folder,
                [{"type": "audio"}, {"type": "text", "text": "{question}"}],
                "Transcribe the audio.",
                placeholder=_PLACEHOLDER,
            ),
            translate="Listen to the provided {language} speech and produce a translation in"
            " {target} text.",
            translates_to=_LANGUAGES,
        ),
        language=language,
        tower=tower,
        tower_count=checkpoint.count(*TOWER),
        licences=dict.fromkeys(("encoder", "llm"), checkpoint.licence),
        notes=(NOTE,),
        languages=_LANGUAGES,
    )
