"""Checkpoints whose sound comes in windows of 30 s."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from transformers import WhisperFeatureExtractor

from .tekken_file import TekkenTokenizer
from .tiny import ENCODER, LLM, PARTS, TOWER, Array, Tiny, draw, padded_size, write_tokenizer


class Qwen2Audio(Tiny):
    name = "qwen2_audio"
    specials: ClassVar = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>"]
    specials += ["<|audio_bos|>", "<|audio_eos|>"]
    lengths_s: ClassVar = (0.04, 0.08, 1.2, 5.4, 29.96, 30.0)

    def make(self) -> None:
        from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

        self.tokenizer = write_tokenizer(
            self.folder, self.specials, self.pattern, eos_token="<|im_end|>"
        )
        ids = self.tokens(*self.specials)
        config = Qwen2AudioConfig(
            audio_config={**TOWER, "model_type": "qwen2_audio_encoder"},
            text_config={
                **LLM,
                "model_type": "qwen2",
                "num_key_value_heads": 4,
                "vocab_size": padded_size(self.tokenizer),
                "tie_word_embeddings": False,
            },
            audio_token_index=ids["<|AUDIO|>"],
        )
        self.model = Qwen2AudioForConditionalGeneration(config).eval().float()
        draw(self.model.model.audio_tower)
        draw(self.model.model.multi_modal_projector)
        self.model.save_pretrained(str(self.folder))

    def rows(self, audio: Array) -> torch.Tensor:
        from transformers.masking_utils import create_bidirectional_mask

        made = WhisperFeatureExtractor(feature_size=128)(
            audio,
            sampling_rate=16_000,
            return_attention_mask=True,
            padding="max_length",
            return_tensors="pt",
        )
        tower = self.model.model.audio_tower
        frames, count = tower._get_feat_extract_output_lengths(made["attention_mask"].sum(-1))
        mask = create_bidirectional_mask(
            config=tower.config,
            inputs_embeds=torch.zeros(1, 1500, 1),
            attention_mask=(torch.arange(1500)[None] < frames[:, None]).long(),
        )
        with torch.no_grad():
            heard = tower(made["input_features"], attention_mask=mask).last_hidden_state
            rows: torch.Tensor = self.model.model.multi_modal_projector(heard)[0, : int(count[0])]
        return rows


class Voxtral(Tiny):
    name, pattern = "voxtral", "tekken"
    specials: ClassVar = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AUDIO]"]
    specials += ["[BEGIN_AUDIO]", "[TRANSCRIBE]"]
    lengths_s: ClassVar = (0.02, 1.2, 5.37, 29.96, 30.0)

    def make(self) -> None:
        from transformers import VoxtralConfig, VoxtralForConditionalGeneration

        scratch = self.folder.with_name("voxtral-other")
        scratch.mkdir()
        self.tokenizer = TekkenTokenizer(self.folder, self.specials, scratch)
        ids = self.tokens(*self.specials)
        config = VoxtralConfig(
            audio_config={**ENCODER, "intermediate_size": 256},
            text_config={
                **LLM,
                "model_type": "llama",
                "head_dim": 64,
                "vocab_size": padded_size(self.tokenizer),
                "rope_theta": 1e6,
                "bos_token_id": ids["<s>"],
                "eos_token_id": ids["</s>"],
            },
            audio_token_id=ids["[AUDIO]"],
        )
        self.model = VoxtralForConditionalGeneration(config).eval().float()
        draw(self.model.model.audio_tower)
        draw(self.model.model.multi_modal_projector)
        self.model.save_pretrained(str(self.folder))

    def rows(self, audio: Array) -> torch.Tensor:
        made = WhisperFeatureExtractor(feature_size=128)(
            audio, sampling_rate=16_000, padding="max_length", return_tensors="pt"
        )
        with torch.no_grad():
            rows: torch.Tensor = self.model.get_audio_features(made["input_features"]).pooler_output
        return rows


class AudioFlamingo(Tiny):
    name = "audio_flamingo"
    specials: ClassVar = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<sound>"]
    lengths_s: ClassVar = (0.04, 1.2, 5.4, 30.0)

    def make(self) -> None:
        from transformers import AudioFlamingo3Config, AudioFlamingo3ForConditionalGeneration

        self.tokenizer = write_tokenizer(
            self.folder,
            self.specials,
            self.pattern,
            template=PARTS.replace("SOUND", "<sound>"),
            eos_token="<|im_end|>",
        )
        config = AudioFlamingo3Config(
            audio_config=ENCODER,
            text_config={
                **LLM,
                "model_type": "qwen2",
                "vocab_size": padded_size(self.tokenizer),
            },
            audio_token_id=self.tokens("<sound>")["<sound>"],
        )
        self.model = AudioFlamingo3ForConditionalGeneration(config).eval().float()
        draw(self.model.model.audio_tower)
        draw(self.model.model.multi_modal_projector)
        self.model.save_pretrained(str(self.folder))

    def rows(self, audio: Array) -> torch.Tensor:
        return masked_rows(self.model, audio)


class GlmAsr(Tiny):
    name = "glm_asr"
    specials: ClassVar = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    lengths_s: ClassVar = (0.08, 1.2, 5.44, 29.92)

    def make(self) -> None:
        from transformers import GlmAsrConfig, GlmAsrForConditionalGeneration

        self.tokenizer = write_tokenizer(
            self.folder,
            self.specials,
            self.pattern,
            template=PARTS.replace("SOUND", "<|pad|>"),
            eos_token="<|im_end|>",
        )
        config = GlmAsrConfig(
            audio_config={**ENCODER, "intermediate_size": 256},
            text_config={
                **LLM,
                "model_type": "llama",
                "head_dim": 32,
                "vocab_size": padded_size(self.tokenizer),
                "eos_token_id": [self.tokens("<|im_end|>")["<|im_end|>"]],
            },
            audio_token_id=self.tokens("<|pad|>")["<|pad|>"],
        )
        self.model = GlmAsrForConditionalGeneration(config).eval().float()
        draw(self.model.model.audio_tower)
        draw(self.model.model.multi_modal_projector)
        self.model.save_pretrained(str(self.folder))

    def rows(self, audio: Array) -> torch.Tensor:
        return masked_rows(self.model, audio)


class MusicFlamingo(Tiny):
    name = "music_flamingo"
    specials: ClassVar = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<sound>"]
    specials += ["<|sound_bos|>", "<|sound_eos|>"]
    lengths_s: ClassVar = (0.04, 1.2, 5.4, 30.0)

    def make(self) -> None:
        from transformers import MusicFlamingoConfig, MusicFlamingoForConditionalGeneration

        self.tokenizer = write_tokenizer(
            self.folder,
            self.specials,
            self.pattern,
            template=PARTS.replace("SOUND", "<sound>"),
            eos_token="<|im_end|>",
        )
        ids = self.tokens(*self.specials)
        config = MusicFlamingoConfig(
            audio_config={**ENCODER, "model_type": "audioflamingo3_encoder"},
            text_config={
                **LLM,
                "model_type": "qwen2",
                "vocab_size": padded_size(self.tokenizer),
            },
            audio_token_id=ids["<sound>"],
            audio_bos_token_id=ids["<|sound_bos|>"],
            audio_eos_token_id=ids["<|sound_eos|>"],
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 1200,
                "partial_rotary_factor": 0.2,
            },
        )
        self.model = MusicFlamingoForConditionalGeneration(config).eval().float()
        draw(self.model.model.audio_tower)
        draw(self.model.model.multi_modal_projector)
        self.model.save_pretrained(str(self.folder))

    def rows(self, audio: Array) -> torch.Tensor:
        sounds = torch.full((1, len(audio) // 640), self.model.config.audio_token_id)
        return masked_rows(self.model, audio, input_ids=sounds)


class Moss(Tiny):
    name = "moss"
    specials: ClassVar = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|audio_pad|>"]
    specials += ["<|audio_start|>", "<|audio_end|>"]
    lengths_s: ClassVar = (0.08, 1.2, 5.44, 29.92, 30.0)
    question: ClassVar = "Who said what?"

    def make(self) -> None:
        from transformers import (
            MossTranscribeDiarizeConfig,
            MossTranscribeDiarizeForConditionalGeneration,
        )

        # As the real one may: without a text of the person's it asks its own question.
        silent = "m.content | length == 1 and m.content[0].type == 'audio'"
        asked = f"{{% if {silent} %}}{self.question}{{% endif %}}<|im_end|>"
        template = PARTS.replace("SOUND", "<|audio_start|><|audio_pad|><|audio_end|>")
        template = template.replace("<|im_end|>", asked)
        self.tokenizer = write_tokenizer(
            self.folder, self.specials, self.pattern, template=template, eos_token="<|im_end|>"
        )
        config = MossTranscribeDiarizeConfig(
            audio_config={**ENCODER, "num_mel_bins": 80},
            text_config={
                **LLM,
                "model_type": "qwen3",
                "head_dim": 32,
                "vocab_size": padded_size(self.tokenizer),
                "eos_token_id": [self.tokens("<|im_end|>")["<|im_end|>"]],
            },
            audio_token_id=self.tokens("<|audio_pad|>")["<|audio_pad|>"],
        )
        self.model = MossTranscribeDiarizeForConditionalGeneration(config).eval().float()
        draw(self.model.model.audio_tower)
        draw(self.model.model.multi_modal_projector)
        self.model.save_pretrained(str(self.folder))

    def heard(self, audio: Array) -> Any:
        from transformers import MossTranscribeDiarizeFeatureExtractor

        extractor = MossTranscribeDiarizeFeatureExtractor()
        return extractor(audio, sampling_rate=16_000, return_tensors="pt")

    def rows(self, audio: Array) -> torch.Tensor:
        with torch.no_grad():
            heard = self.model.model.get_audio_features(**self.heard(audio))
        rows: torch.Tensor = heard.pooler_output
        return rows


def masked_rows(model: Any, audio: Array, **more: Any) -> torch.Tensor:
    """Rows of a sound in a window of 30 s whose rest is masked."""
    made = WhisperFeatureExtractor(feature_size=128)(
        audio,
        sampling_rate=16_000,
        return_attention_mask=True,
        padding="max_length",
        return_tensors="pt",
    )
    with torch.no_grad():
        heard = model.get_audio_features(made["input_features"], made["attention_mask"], **more)
    rows: torch.Tensor = heard.pooler_output
    return rows
