"""transformers' own model of a checkpoint, in 32 bits, and the rows that it makes of sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edge_audiokv.errors import ModelError
from edge_audiokv.families.adapter import Adapter
from edge_audiokv.families.checkpoint import Checkpoint
from edge_audiokv.families.plan import Plan

Array = npt.NDArray[np.float32]
_RATE_HZ = 16_000
_WHISPER_S, _OMNI_S = 30, 60
# Beside the weights: what is computed, and what transformers holds while it reads them.
_SPARE_BYTES = 1 << 30
# What config.json calls the kind of model -> the class of transformers, and how it hears.
_CLASSES = {
    "audioflamingo3": ("AudioFlamingo3ForConditionalGeneration", "masked"),
    "fun_asr_nano": ("FunAsrNanoForConditionalGeneration", "banked"),
    "glmasr": ("GlmAsrForConditionalGeneration", "masked"),
    "granite_speech": ("GraniteSpeechForConditionalGeneration", "stacked"),
    "granite_speech_plus": ("GraniteSpeechPlusForConditionalGeneration", "stacked"),
    "moss_transcribe_diarize": ("MossTranscribeDiarizeForConditionalGeneration", "joined"),
    "musicflamingo": ("MusicFlamingoForConditionalGeneration", "turned"),
    "phi4_multimodal": ("Phi4MultimodalForCausalLM", "framed"),
    "qwen2_audio": ("Qwen2AudioForConditionalGeneration", "cut"),
    "qwen2_5_omni": ("Qwen2_5OmniThinkerForConditionalGeneration", "omni"),
    "qwen2_5_omni_thinker": ("Qwen2_5OmniThinkerForConditionalGeneration", "omni"),
    "qwen3_asr": ("Qwen3ASRForConditionalGeneration", "unpadded"),
    "qwen3_omni_moe": ("Qwen3OmniMoeThinkerForConditionalGeneration", "omni"),
    "qwen3_omni_moe_thinker": ("Qwen3OmniMoeThinkerForConditionalGeneration", "omni"),
    "voxtral": ("VoxtralForConditionalGeneration", "whole"),
}


def needed_bytes(plan: Plan) -> int:
    """Memory that the reference takes: all of a checkpoint in 32 bits."""
    folders = {id(plan.language.checkpoint): plan.language.checkpoint.tensors}
    if _kind(plan) in _CLASSES:
        folders = {0: Checkpoint(plan.folder).tensors}
    numbers = sum(stored.count for tensors in folders.values() for stored in tensors.values())
    return 4 * numbers + _SPARE_BYTES


class Reference:
    """The model of a plan's checkpoint; of an Ultravox, whose own is remote code, its LLM alone.

    Raises ModelError if transformers cannot read it.
    """

    def __init__(self, plan: Plan) -> None:
        import transformers

        name, self._hearing = _CLASSES.get(_kind(plan), ("AutoModelForCausalLM", ""))
        folder = plan.folder if self._hearing else plan.language.checkpoint.folder
        try:
            self._model: Any = getattr(transformers, name).from_pretrained(
                str(folder),
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
            )
        except Exception as error:  # transformers raises many kinds
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelError(
                f"transformers cannot read {folder}: {lines[0].rstrip('.')}.",
                cure="Update transformers, or download the checkpoint again.",
            ) from None
        self._model.eval()
        adapter = plan.language.adapter
        # transformers reads it where peft is installed.
        if adapter is not None and not getattr(self._model, "_hf_peft_config_loaded", False):
            self._merge(adapter)

    @property
    def hears(self) -> bool:
        """Has it a tower of its own?"""
        return bool(self._hearing)

    @torch.no_grad()
    def rows(self, audio: Array) -> Array:
        """Rows [T, d_model] of samples [S] at 16 kHz, at most a window of the family's."""
        made: Array = getattr(self, f"_{self._hearing}")(audio).float().numpy()
        return made

    @torch.no_grad()
    def logits(self, before: list[int], rows: Array, after: list[int], said: list[int]) -> Array:
        """Logits [1 + len(said), V] after the prompt, and after each token of `said`."""
        table = self._model.get_input_embeddings()
        parts = [table(torch.tensor([before], dtype=torch.long)), torch.from_numpy(rows)[None]]
        parts.append(table(torch.tensor([[*after, *said]], dtype=torch.long)))
        out = self._model(inputs_embeds=torch.cat(parts, dim=1), use_cache=False)
        logits: Array = out.logits[0, -1 - len(said) :].float().numpy()
        if self._hearing == "stacked":
            # Granite's own head divides by that, as llama.cpp does; the one that hears does not.
            logits = logits / np.float32(self._model.config.text_config.logits_scaling)
        return logits

    @torch.no_grad()
    def _merge(self, adapter: Adapter) -> None:
        language = self._model.model
        language = getattr(language, "language_model", language)
        for name, delta in adapter.deltas():
            language.get_parameter(name.removeprefix("model.")).add_(delta)

    def _mel(self, audio: Array, seconds: int | None = _WHISPER_S) -> Any:
        from transformers import WhisperFeatureExtractor

        config = self._model.config
        audio_config = getattr(config, "thinker_config", config).audio_config
        extractor = WhisperFeatureExtractor(
            feature_size=audio_config.num_mel_bins, chunk_length=seconds or _WHISPER_S
        )
        return extractor(
            audio,
            sampling_rate=_RATE_HZ,
            return_attention_mask=True,
            padding="max_length",
            return_tensors="pt",
        )

    def _whole(self, audio: Array) -> Tensor:
        rows: Tensor = self._model.get_audio_features(self._mel(audio)["input_features"])
        return _last(rows.pooler_output)

    def _masked(self, audio: Array) -> Tensor:
        made = self._mel(audio)
        heard = self._model.get_audio_features(made["input_features"], made["attention_mask"])
        return _last(heard.pooler_output)

    def _turned(self, audio: Array) -> Tensor:
        made, config = self._mel(audio), self._model.config
        tower, frames = self._model.model.audio_tower, made["attention_mask"].sum(-1)
        _, count = tower._get_feat_extract_output_lengths(frames)
        # Its rows' times are counted by their places in the prompt.
        ids = torch.full((1, int(count[0])), config.audio_token_id)
        heard = self._model.get_audio_features(
            made["input_features"], made["attention_mask"], input_ids=ids
        )
        return _last(heard.pooler_output)

    def _joined(self, audio: Array) -> Tensor:
        from transformers import MossTranscribeDiarizeFeatureExtractor

        extractor = MossTranscribeDiarizeFeatureExtractor(
            feature_size=self._model.config.audio_config.num_mel_bins
        )
        made = extractor(audio, sampling_rate=_RATE_HZ, return_tensors="pt")
        return _last(self._model.model.get_audio_features(**made).pooler_output)

    def _banked(self, audio: Array) -> Tensor:
        from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

        # What torchaudio's Kaldi front end computes, which is not always there.
        frames = spectrogram(
            audio,
            window_function(400, "hamming", periodic=False),
            frame_length=400,
            hop_length=160,
            fft_length=512,
            power=2.0,
            center=False,
            preemphasis=0.97,
            remove_dc_offset=True,
            mel_filters=mel_filter_bank(
                257, 80, 20, 8000, _RATE_HZ, mel_scale="kaldi", triangularize_in_mel_space=True
            ),
            log_mel="log",
            mel_floor=float(np.finfo(np.float32).eps),
        ).T
        count = -(-len(frames) // 6)
        at = np.arange(count)[:, None] * 6 + np.arange(7) - 3
        stacked = frames[at.clip(0, len(frames) - 1)].reshape(1, count, -1)
        heard = self._model.get_audio_features(
            torch.from_numpy(stacked).float(), torch.ones(1, count, dtype=torch.long)
        )
        return _last(heard.pooler_output)

    def _omni(self, audio: Array) -> Tensor:
        made = self._mel(audio, _OMNI_S)
        heard = self._model.get_audio_features(
            made["input_features"], feature_attention_mask=made["attention_mask"]
        )
        return _last(heard.last_hidden_state)

    def _unpadded(self, audio: Array) -> Tensor:
        from transformers.models.qwen3_asr.feature_extraction_qwen3_asr import (
            Qwen3ASRFeatureExtractor,
        )

        made = Qwen3ASRFeatureExtractor()(
            audio, sampling_rate=_RATE_HZ, return_attention_mask=True, padding="longest"
        )
        heard = self._model.model.get_audio_features(made["input_features"], made["attention_mask"])
        return _last(heard.pooler_output)

    def _stacked(self, audio: Array) -> Tensor:
        from transformers.audio_utils import mel_filter_bank

        # What torchaudio's MelSpectrogram computes, which is not always there.
        spectrum = torch.stft(
            torch.from_numpy(audio),
            n_fft=512,
            hop_length=160,
            win_length=400,
            window=torch.hann_window(400),
            return_complex=True,
        )
        bank = mel_filter_bank(257, 80, 0, _RATE_HZ / 2, _RATE_HZ, mel_scale="htk")
        mel = (spectrum.abs() ** 2).T @ torch.from_numpy(bank).float()
        mel = mel.clamp(min=1e-10).log10()
        mel = torch.maximum(mel, mel.max() - 8) / 4 + 1
        heard = self._model.get_audio_features(mel[: len(mel) // 2 * 2].reshape(1, -1, 160))
        return _last(heard.pooler_output)

    def _framed(self, audio: Array) -> Tensor:
        from transformers import Phi4MultimodalFeatureExtractor

        made = Phi4MultimodalFeatureExtractor()(audio, sampling_rate=_RATE_HZ)
        embed = self._model.model.embed_tokens_extend.audio_embed
        frames = embed.encoder(made["audio_input_features"], None)
        raised = torch.nn.functional.gelu(embed.up_proj_for_speech(frames))
        return _last(embed.down_proj_for_speech(raised))

    def _cut(self, audio: Array) -> Tensor:
        from transformers.masking_utils import create_bidirectional_mask

        made, tower = self._mel(audio), self._model.model.audio_tower
        frames, count = tower._get_feat_extract_output_lengths(made["attention_mask"].sum(-1))
        places = made["input_features"].shape[-1] // 2
        mask = create_bidirectional_mask(
            config=tower.config,
            inputs_embeds=torch.zeros(1, places, 1),
            attention_mask=(torch.arange(places)[None] < frames[:, None]).long(),
        )
        heard = tower(made["input_features"], attention_mask=mask).last_hidden_state
        return _last(self._model.model.multi_modal_projector(heard)[0, : int(count[0])])


def _last(rows: Tensor) -> Tensor:
    """Rows [T, d_model] of what may have a first dimension of 1."""
    return rows.reshape(-1, rows.shape[-1])


def _kind(plan: Plan) -> str:
    return Checkpoint(Path(plan.folder)).model_type
