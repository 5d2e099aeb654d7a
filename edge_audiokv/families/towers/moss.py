"""MOSS-Transcribe-Diarize: Whisper's encoder over whole windows of 30 s, four frames a row.

The silence that fills a window is looked at, as its makers run it; its rows are left out. Between
the rows stand the seconds that have passed, as text.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from edge_audiokv.errors import ModelError
from edge_audiokv.families.checkpoint import Checkpoint
from edge_audiokv.families.language import plain
from edge_audiokv.families.plan import Plan, Sound
from edge_audiokv.families.tensors import read_json
from edge_audiokv.families.towers.layers import Stem, check_tower, whisper_names
from edge_audiokv.families.towers.mel import HOP, RATE_HZ, LogMel
from edge_audiokv.families.wording import from_chat_template, own_question

_TOWER = ("model.audio_tower.",)
_PROJECTOR = ("model.multi_modal_projector.",)
_WINDOW_S = 30
_PLACEHOLDER = "<|audio_pad|>"
_PROCESSOR = "processor_config.json"
# Every so many seconds the time is told, unless its processor says otherwise.
_EVERY_S = 2


class Projector(nn.Module):
    """Rows [1, T, width] -> [1, T, out]."""

    def __init__(self, width: int, out: int, *, bias: bool, epsilon: float) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, out, bias=bias)
        self.linear_2 = nn.Linear(out, out, bias=bias)
        self.norm = nn.LayerNorm(out, eps=epsilon)

    def forward(self, x: Tensor) -> Tensor:
        rows: Tensor = self.norm(self.linear_2(nn.functional.silu(self.linear_1(x))))
        return rows


class Tower(nn.Module):
    """Samples [1, S] -> rows [1, S / (320 joined), out], S a multiple of that up to 30 s."""

    def __init__(self, config: dict[str, Any], joined: int, projector: nn.Module) -> None:
        super().__init__()
        self.mel = LogMel(config["num_mel_bins"])
        self.audio_tower = Stem(config)
        self.joined, self.inner = joined, joined * config["d_model"]
        self.multi_modal_projector = projector

    def forward(self, audio: Tensor) -> Tensor:
        samples = _WINDOW_S * RATE_HZ
        rows = audio.shape[1] // (2 * self.joined * HOP)
        frames = self.audio_tower(self.mel(nn.functional.pad(audio, (0, samples))[:, :samples]))
        made: Tensor = self.multi_modal_projector(frames.reshape(1, -1, self.inner)[:, :rows])
        return made


def read(checkpoint: Checkpoint) -> Plan:
    """Raises ModelError for settings that no checkpoint of the family has."""
    config = checkpoint.config
    audio, text = whisper_names(config["audio_config"]), config["text_config"]
    check_tower(audio)
    joined, every_s = int(config["audio_merge_size"]), _every_s(checkpoint)
    row_s = 2 * joined * HOP / RATE_HZ
    faults = {
        "audio_chunk_size": config["audio_chunk_size"] != _WINDOW_S * RATE_HZ,
        "audio_merge_size": _WINDOW_S / row_s % 1 != 0,
        "max_source_positions": audio["max_source_positions"] != _WINDOW_S * RATE_HZ // (2 * HOP),
        "projector_hidden_act": config["projector_hidden_act"] != "silu",
        "time_marker_every_seconds": every_s < 0 or every_s / row_s % 1 != 0,
    }
    for name, wrong in faults.items():
        if wrong:
            raise ModelError(
                f"This MOSS-Transcribe-Diarize has another {name} than its makers' checkpoint.",
                cure="Take OpenMOSS-Team/MOSS-Transcribe-Diarize in the form of transformers.",
            )
    language = plain(checkpoint, text)

    def tower() -> nn.Module:
        projector = Projector(
            joined * audio["d_model"],
            text["hidden_size"],
            bias=bool(config.get("projector_bias", True)),
            epsilon=text["rms_norm_eps"],
        )
        made = Tower(audio, joined, projector)
        checkpoint.fill(made.audio_tower, *_TOWER)
        checkpoint.fill(made.multi_modal_projector, *_PROJECTOR)
        return made

    user = [{"type": "audio"}]
    question = own_question(checkpoint.folder, user, placeholder=_PLACEHOLDER)
    return Plan(
        family="MOSS-Transcribe-Diarize",
        folder=checkpoint.folder,
        sound=Sound(
            tokens_per_second=1 / row_s,
            max_audio_s=_WINDOW_S,
            token_rule="timed" if every_s else "linear",
            block_s=float(every_s) or None,
            chunk_s=float(_WINDOW_S),
        ),
        wording=from_chat_template(
            checkpoint.folder,
            [*user, {"type": "text", "text": "{question}"}],
            question or "Transcribe the audio.",
            placeholder=_PLACEHOLDER,
            answer_tags="[]",
        ),
        language=language,
        tower=tower,
        tower_count=checkpoint.count(*_TOWER, *_PROJECTOR),
        licences=dict.fromkeys(("encoder", "llm"), checkpoint.licence),
        notes=(
            "Times and speakers, which it writes in brackets, are left out: it counts both anew in"
            " each segment.",
            "Each window is computed as one of 30 s, as its makers run it.",
        ),
    )


def _every_s(checkpoint: Checkpoint) -> int:
    path = checkpoint.folder / _PROCESSOR
    stated = read_json(path) if path.is_file() else {}
    every_s = stated.get("time_marker_every_seconds", _EVERY_S)
    return every_s if isinstance(every_s, int) else -1
