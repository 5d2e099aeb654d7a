"""Checkpoints whose sound comes without padding, or in chunks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import WhisperFeatureExtractor

from .tiny import LLM, PARTS, TOWER, Array, Tiny, draw, padded_size, write_tokenizer


class Ultravox(Tiny):
    name, pattern = "ultravox", "llama-bpe"
    specials: ClassVar = ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>"]
    specials += ["<|end_header_id|>"]
    lengths_s: ClassVar = (0.02, 0.16, 0.17, 5.37, 29.92)
    template: ClassVar = (
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>"
        "\n\n{{ m.content }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}"
        "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    )

    def make(self) -> None:
        from safetensors.torch import save_file
        from transformers import LlamaConfig, LlamaForCausalLM, WhisperConfig
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        llm = self.folder / "llm"
        llm.mkdir()
        self.tokenizer = write_tokenizer(
            llm,
            self.specials,
            self.pattern,
            template=self.template,
            bos_token="<|begin_of_text|>",
            eos_token="<|eot_id|>",
        )
        ids = self.tokens(*self.specials)
        rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0}
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
        rope |= {"original_max_position_embeddings": 64}
        text = LlamaConfig(
            **LLM,
            vocab_size=padded_size(self.tokenizer),
            tie_word_embeddings=True,
            bos_token_id=ids["<|begin_of_text|>"],
            eos_token_id=ids["<|eot_id|>"],
            rope_parameters=rope,
        )
        self.model = LlamaForCausalLM(text).eval().float()
        self.model.save_pretrained(str(llm))
        audio = WhisperConfig(**TOWER)
        self.encoder = WhisperEncoder(audio).eval().float()
        self.projector = nn.ModuleDict(
            {
                "ln_pre": nn.RMSNorm(64 * 8, eps=1e-6),
                "linear_1": nn.Linear(64 * 8, 256, bias=False),
                "ln_mid": nn.RMSNorm(128, eps=1e-6),
                "linear_2": nn.Linear(128, 128, bias=False),
            }
        )
        draw(self.encoder)
        draw(self.projector)
        weights = {f"audio_tower.{k}": v for k, v in self.encoder.state_dict().items()}
        weights |= {f"multi_modal_projector.{k}": v for k, v in self.projector.state_dict().items()}
        save_file(
            {k: v.contiguous() for k, v in weights.items()},
            str(self.folder / "model.safetensors"),
        )
        self.write_config(audio.to_dict())

    def write_config(self, audio: dict[str, Any]) -> None:
        config = {
            "model_type": "ultravox",
            "architectures": ["UltravoxModel"],
            "auto_map": {"AutoModel": "ultravox_model.UltravoxModel"},
            "audio_config": audio,
            "text_model_id": "someone/some-llama",
            "hidden_size": 256,
            "stack_factor": 8,
            "projector_act": "swiglu",
            "projector_ln_mid": True,
        }
        (self.folder / "config.json").write_text(json.dumps(config))

    def parts(self) -> dict[str, Path]:
        return {"llm": self.folder / "llm"}

    def rows(self, audio: Array) -> torch.Tensor:
        # The arithmetic of its remote code, in our words: Whisper's encoder without its check of
        # the length, frames stacked by eight with zeros at the end, SwiGLU with the gate last.
        mel = WhisperFeatureExtractor(feature_size=128)(
            audio, sampling_rate=16_000, padding="longest", truncation=False, return_tensors="pt"
        )["input_features"]
        e, p = self.encoder, self.projector
        with torch.no_grad():
            x = nn.functional.gelu(e.conv2(nn.functional.gelu(e.conv1(mel)))).permute(0, 2, 1)
            x = x + e.embed_positions.weight[: x.shape[1]]
            for layer in e.layers:
                x = layer(x, None)
                x = x[0] if isinstance(x, tuple) else x
            x = e.layer_norm(x)[0]
            x = torch.cat([x, torch.zeros(-len(x) % 8, 64)]).reshape(-1, 512)
            value, gate = p["linear_1"](p["ln_pre"](x)).chunk(2, -1)
            rows: torch.Tensor = p["linear_2"](p["ln_mid"](nn.functional.silu(gate) * value))
        return rows


class Qwen3ASR(Tiny):
    name = "qwen3_asr"
    specials: ClassVar = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|audio_start|>"]
    specials += ["<|audio_end|>", "<|audio_pad|>", "<asr_text>"]
    lengths_s: ClassVar = (0.02, 0.5, 1.0, 5.37, 8.0, 19.99)

    def make(self) -> None:
        from transformers import Qwen3ASRConfig, Qwen3ASRForConditionalGeneration

        self.tokenizer = write_tokenizer(
            self.folder, self.specials, self.pattern, eos_token="<|im_end|>"
        )
        ids = self.tokens(*self.specials)
        rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]}
        config = Qwen3ASRConfig(
            audio_config={
                **TOWER,
                "model_type": "qwen3_asr_encoder",
                "output_dim": 128,
                "downsample_hidden_size": 16,
                "n_window": 50,
                "n_window_infer": 800,
            },
            text_config={
                **LLM,
                "model_type": "qwen3",
                "head_dim": 32,
                "vocab_size": padded_size(self.tokenizer),
                "tie_word_embeddings": True,
                "rope_parameters": {**rope, "mrope_interleaved": True},
            },
            audio_token_id=ids["<|audio_pad|>"],
            eos_token_id=[ids["<|im_end|>"]],
            pad_token_id=ids["<|endoftext|>"],
        )
        self.model = Qwen3ASRForConditionalGeneration(config).eval().float()
        draw(self.model.model.audio_tower)
        draw(self.model.model.multi_modal_projector)
        self.model.save_pretrained(str(self.folder))

    def rows(self, audio: Array) -> torch.Tensor:
        from transformers.models.qwen3_asr.feature_extraction_qwen3_asr import (
            Qwen3ASRFeatureExtractor,
        )

        made = Qwen3ASRFeatureExtractor()(
            audio, sampling_rate=16_000, return_attention_mask=True, padding="longest"
        )
        with torch.no_grad():
            heard = self.model.model.get_audio_features(
                made["input_features"], made["attention_mask"]
            )
        rows: torch.Tensor = heard.pooler_output
        return rows


class Qwen3Omni(Tiny):
    name = "qwen3_omni"
    specials: ClassVar = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|audio_start|>"]
    specials += ["<|audio_end|>", "<|audio_pad|>", "<|vision_start|>", "<|vision_end|>"]
    specials += ["<|image_pad|>", "<|video_pad|>"]
    lengths_s: ClassVar = (0.02, 0.43, 1.0, 1.01, 5.37, 8.0, 19.99)

    def make(self) -> None:
        from transformers import (
            Qwen3OmniMoeThinkerConfig,
            Qwen3OmniMoeThinkerForConditionalGeneration,
        )

        sound = "<|audio_start|><|audio_pad|><|audio_end|>"
        self.tokenizer = write_tokenizer(
            self.folder, self.specials, self.pattern, eos_token="<|im_end|>"
        )
        # Processors of transformers 4 have their template in a file of this name.
        template = {"chat_template": PARTS.replace("SOUND", sound)}
        (self.folder / "chat_template.json").write_text(json.dumps(template))
        ids = self.tokens(*self.specials)
        rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]}
        config = Qwen3OmniMoeThinkerConfig(
            audio_config={**TOWER, "output_dim": 128, "downsample_hidden_size": 8},
            vision_config={
                "depth": 1,
                "hidden_size": 64,
                "intermediate_size": 64,
                "num_heads": 2,
                "out_hidden_size": 128,
                "deepstack_visual_indexes": [],
            },
            text_config={
                **LLM,
                "head_dim": 32,
                "vocab_size": padded_size(self.tokenizer),
                "moe_intermediate_size": 64,
                "num_experts": 8,
                "num_experts_per_tok": 2,
                "rope_parameters": {**rope, "mrope_interleaved": True},
            },
            audio_token_id=ids["<|audio_pad|>"],
            audio_start_token_id=ids["<|audio_start|>"],
            image_token_id=ids["<|image_pad|>"],
            video_token_id=ids["<|video_pad|>"],
        )
        config.vision_start_token_id = ids["<|vision_start|>"]
        config.vision_end_token_id = ids["<|vision_end|>"]
        self.model = Qwen3OmniMoeThinkerForConditionalGeneration(config).eval().float()
        draw(self.model.model.audio_tower)
        torch.nn.init.normal_(self.model.lm_head.weight, 0, 0.15)  # 0.02 whatever is configured
        self.model.save_pretrained(str(self.folder))

    def rows(self, audio: Array) -> torch.Tensor:
        return omni_rows(self.model, audio)


class Qwen25Omni(Tiny):
    name = "qwen2_5_omni"
    specials: ClassVar = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>"]
    specials += ["<|audio_bos|>", "<|audio_eos|>", "<|vision_bos|>", "<|vision_eos|>"]
    specials += ["<|IMAGE|>", "<|VIDEO|>"]
    lengths_s: ClassVar = (0.04, 0.4, 2.0, 5.4, 29.96)

    def make(self) -> None:
        from transformers import (
            Qwen2_5OmniThinkerConfig,
            Qwen2_5OmniThinkerForConditionalGeneration,
        )

        self.tokenizer = write_tokenizer(
            self.folder, self.specials, self.pattern, eos_token="<|im_end|>"
        )
        ids = self.tokens(*self.specials)
        rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]}
        config = Qwen2_5OmniThinkerConfig(
            audio_config={**TOWER, "output_dim": 128},
            vision_config={
                "depth": 1,
                "hidden_size": 64,
                "intermediate_size": 64,
                "num_heads": 2,
                "out_hidden_size": 128,
                "fullatt_block_indexes": [0],
            },
            text_config={
                **LLM,
                "vocab_size": padded_size(self.tokenizer),
                "tie_word_embeddings": False,
                "rope_parameters": rope,
                "bos_token_id": ids["<|endoftext|>"],
                "eos_token_id": ids["<|im_end|>"],
            },
            audio_token_index=ids["<|AUDIO|>"],
            image_token_index=ids["<|IMAGE|>"],
            video_token_index=ids["<|VIDEO|>"],
            audio_start_token_id=ids["<|audio_bos|>"],
            audio_end_token_id=ids["<|audio_eos|>"],
            vision_start_token_id=ids["<|vision_bos|>"],
            vision_end_token_id=ids["<|vision_eos|>"],
        )
        self.model = Qwen2_5OmniThinkerForConditionalGeneration(config).eval().float()
        draw(self.model.model.audio_tower)
        torch.nn.init.normal_(self.model.lm_head.weight, 0, 0.15)  # 0.02 whatever is configured
        self.model.save_pretrained(str(self.folder))

    def rows(self, audio: Array) -> torch.Tensor:
        return omni_rows(self.model, audio)


def omni_rows(model: Any, audio: Array) -> torch.Tensor:
    """Rows of a sound in a minute whose rest is masked."""
    made = WhisperFeatureExtractor(feature_size=128, chunk_length=60)(
        audio,
        sampling_rate=16_000,
        return_attention_mask=True,
        padding="max_length",
        return_tensors="pt",
    )
    with torch.no_grad():
        heard = model.get_audio_features(
            made["input_features"], feature_attention_mask=made["attention_mask"]
        )
    rows: torch.Tensor = heard.last_hidden_state
    return rows
