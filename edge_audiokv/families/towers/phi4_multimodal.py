"""Phi-4-multimodal: what hears and writes of it; its adapter for sound is merged into its LLM.

The LLM has two tables of positions, and changes to the second when a sequence gets long, after
which nothing that was computed counts any more. Only the first is taken, up to where it ends.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from edge_audiokv.errors import ModelError
from edge_audiokv.families.checkpoint import Checkpoint
from edge_audiokv.families.language import plain
from edge_audiokv.families.plan import Plan, Sound
from edge_audiokv.families.towers.mel import HOP, RATE_HZ
from edge_audiokv.families.towers.phi4_encoder import Encoder
from edge_audiokv.families.towers.phi4_mel import N_MELS, FrameMel
from edge_audiokv.families.wording import from_chat_template

_AUDIO = "model.embed_tokens_extend.audio_embed."
_TOWER, _UP, _DOWN = f"{_AUDIO}encoder.", f"{_AUDIO}up_proj_for_speech.", f"{_AUDIO}down_proj_for_"
_ADAPTER = "speech-lora"
_FRAMES = 8
# Longer sound is cut there by its makers, too.
_MOST_ROWS = 500
_PLACEHOLDER = "<|audio|>"
_KNOWN = {
    "activation": "swish",
    "bias_symmetric": False,
    "chunk_size": -1,
    "conv_activation": "swish",
    "conv_glu_type": "swish",
    "downsample_rate": 1,
    "input_size": N_MELS,
    "nemo_activation": "relu",
    "time_reduction": _FRAMES,
}


class Tower(nn.Module):
    """Samples [1, S] -> rows [1, S / 1280, out], S a multiple of 1280 up to 40 s."""

    def __init__(self, config: dict[str, Any], out: int) -> None:
        super().__init__()
        self.mel = FrameMel()
        self.audio_tower = Encoder(config)
        self.up_proj = nn.Linear(config["hidden_size"], out)
        self.down_proj = nn.Linear(out, out)

    def forward(self, audio: Tensor) -> Tensor:
        frames = self.audio_tower(self.mel(audio))
        rows: Tensor = self.down_proj(nn.functional.gelu(self.up_proj(frames)))
        return rows


def read(checkpoint: Checkpoint) -> Plan:
    """Raises ModelError for a tower that is not its makers', or without its adapter."""
    config = checkpoint.config
    audio = config["audio_config"]
    for name, known in _KNOWN.items():
        if audio[name] != known:
            raise ModelError(
                f"This Phi-4-multimodal has {name} = {audio[name]!r} instead of {known!r}.",
                cure="Take microsoft/Phi-4-multimodal-instruct, in the form of transformers.",
            )
    folder = checkpoint.folder / _ADAPTER
    text, most_tokens = _language(config)
    language = plain(checkpoint, text, adapter=folder, most_tokens=most_tokens)
    if language.adapter is None:
        raise ModelError(
            f"{checkpoint.folder} lacks {_ADAPTER}, its adapter for sound.",
            cure="Take it whole, in the form of transformers:"
            " microsoft/Phi-4-multimodal-instruct@refs/pr/70",
        )

    def tower() -> nn.Module:
        made = Tower(audio, config["hidden_size"])
        checkpoint.fill(made.audio_tower, _TOWER)
        checkpoint.fill(made.up_proj, _UP)
        checkpoint.fill(made.down_proj, f"{_DOWN}speech.")
        return made

    return Plan(
        family="Phi-4-multimodal",
        folder=checkpoint.folder,
        sound=Sound(
            tokens_per_second=RATE_HZ / (_FRAMES * HOP),
            max_audio_s=_MOST_ROWS * _FRAMES * HOP / RATE_HZ,
        ),
        wording=from_chat_template(
            checkpoint.folder,
            f"{_PLACEHOLDER}{{question}}",
            "Transcribe the audio clip into text.",
            placeholder=_PLACEHOLDER,
        ),
        language=language,
        tower=tower,
        tower_count=checkpoint.count(_TOWER, _UP, f"{_DOWN}speech."),
        licences=dict.fromkeys(("encoder", "llm"), checkpoint.licence),
        notes=(
            "It hears and writes; it does not see here. Its adapter for sound is merged into its"
            " LLM: text without sound would be read by that, too.",
            f"It has {most_tokens} positions here: beyond them its makers'"
            " program computes all anew with other ones.",
        ),
        others=(folder,),
    )


def _language(config: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The LLM's configuration as a Phi-3 whose two tables are the first, and where that ends.

    Raises ModelError for positions that the GGUF cannot say.
    """
    rope = dict(config["rope_parameters"])
    most = int(config["max_position_embeddings"])
    short = int(rope.get("original_max_position_embeddings") or most)
    if rope["rope_type"] == "longrope":
        # How much longer they make queries and keys: the GGUF has it from these two.
        odd = rope.get("attention_factor") is not None or rope.get("factor") not in (
            None,
            most / short,
        )
        if odd:
            raise ModelError(
                "This Phi-4-multimodal has positions of another factor than its makers'.",
                cure="Take microsoft/Phi-4-multimodal-instruct, in the form of transformers.",
            )
        rope["long_factor"] = rope["short_factor"]
    rope["original_max_position_embeddings"] = short
    text = {name: value for name, value in config.items() if not name.endswith("_config")}
    return {**text, "model_type": "phi3", "rope_parameters": rope}, short
