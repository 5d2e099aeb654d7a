"""Checkpoints whose encoder is a Conformer, with an adapter for sound beside their weights."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from transformers.audio_utils import mel_filter_bank

from .tiny import LLM, PARTS, Array, Tiny, draw, padded_size, write_tokenizer

# As Granite's templates: a system turn with today's date before the first turn of a user.
TEMPLATE = (
    "{% set system = 'Today is ' + strftime_now('%B %d, %Y') + '. You are Granite.' %}"
    "<|start_of_role|>system<|end_of_role|>{{ system }}<|end_of_text|>\n"
    "{% for m in messages %}<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}"
    "<|end_of_text|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}"
)
RANK, ALPHA = 4, 6


def write_adapter(
    folder: Path, model: torch.nn.Module, targets: Iterable[str], before: str = "", **fields: Any
) -> None:
    """An adapter for each linear layer of `model` that is called so, as peft keeps it; afterwards
    the model has it in its weights. Names in the file begin with `before`.
    """
    from safetensors.torch import save_file

    kept = {}
    for name, part in model.named_modules():
        if name.rpartition(".")[2] in targets:
            out, inner = part.weight.shape
            a, b = torch.randn(RANK, inner) * 0.1, torch.randn(out, RANK) * 0.1
            kept[f"base_model.model.{before}{name}.lora_A.weight"] = a
            kept[f"base_model.model.{before}{name}.lora_B.weight"] = b
            with torch.no_grad():
                part.weight += b @ a * (ALPHA / RANK)
    save_file(kept, str(folder / "adapter_model.safetensors"))
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none"}
    config |= {"target_modules": list(targets), "use_rslora": False, "rank_pattern": {}}
    (folder / "adapter_config.json").write_text(json.dumps({**config, **fields}))


class GraniteSpeech(Tiny):
    name = "granite_speech"
    specials: ClassVar = ["<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>", "<|audio|>"]
    # Two hops; a block of rows; one of attention, and more; many of both.
    lengths_s: ClassVar = (0.02, 0.3, 0.31, 1.2, 4.0, 5.37, 8.0, 29.99)
    logits_scaling: ClassVar = 4.0
    encoder: ClassVar[dict[str, Any]] = {}
    has_adapter: ClassVar = True
    classes: ClassVar = ("GraniteSpeechConfig", "GraniteSpeechForConditionalGeneration")

    def make(self) -> None:
        import transformers

        self.tokenizer = write_tokenizer(
            self.folder, self.specials, self.pattern, template=TEMPLATE, eos_token="<|end_of_text|>"
        )
        config, model = (getattr(transformers, name) for name in self.classes)
        kept = len(self.encoder.get("cat_hidden_layers", ()))
        made = config(
            encoder_config={
                "num_layers": 2,
                "hidden_dim": 64,
                "num_heads": 2,
                "max_pos_emb": 220,
                **self.encoder,
            },
            projector_config={
                "model_type": "blip_2_qformer",
                "hidden_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 128,
                "encoder_hidden_size": 64 * (1 + kept),
                "cross_attention_frequency": 1,
            },
            text_config={
                **LLM,
                "model_type": "granite",
                "vocab_size": padded_size(self.tokenizer),
                "tie_word_embeddings": True,
                "embedding_multiplier": 3.0,
                "attention_multiplier": 0.125,
                "residual_multiplier": 0.8,
                "logits_scaling": self.logits_scaling,
            },
            audio_token_index=self.tokens("<|audio|>")["<|audio|>"],
            has_lora_adapter=self.has_adapter,
        )
        self.model = model(made).eval().float()
        draw(self.model.model.encoder)
        draw(self.model.model.projector)
        for layer in self.model.model.encoder.layers:
            torch.nn.init.normal_(layer.conv.batch_norm.running_mean, 0, 0.3)
            torch.nn.init.uniform_(layer.conv.batch_norm.running_var, 0.3, 2)
        for layer in self.model.model.projector.qformer.encoder.layer:
            torch.nn.init.normal_(layer.intermediate_query.dense.weight, 0, 0.3)
        torch.nn.init.normal_(self.model.model.projector.linear.weight, 0, 0.24)
        self.model.save_pretrained(str(self.folder))
        if self.has_adapter:
            language = self.model.model.language_model
            targets = ("q_proj", "v_proj", "down_proj")
            write_adapter(self.folder, language, targets, "language_model.model.")

    def rows(self, audio: Array) -> torch.Tensor:
        # torchaudio.transforms.MelSpectrogram, in torch's and transformers' own words.
        spectrum = torch.stft(
            torch.from_numpy(audio)[None],
            n_fft=512,
            hop_length=160,
            win_length=400,
            window=torch.hann_window(400),
            return_complex=True,
        )
        bank = torch.from_numpy(mel_filter_bank(257, 80, 0, 8000, 16_000, mel_scale="htk"))
        mel = (spectrum.abs().double() ** 2).transpose(1, 2) @ bank
        mel = mel.clip(min=1e-10).log10()
        mel = torch.maximum(mel, mel.amax(dim=(-2, -1), keepdim=True) - 8.0) / 4 + 1
        mel = mel[:, :-1] if mel.shape[1] % 2 else mel
        with torch.no_grad():
            heard = self.model.get_audio_features(mel.float().reshape(1, -1, 160))
        rows: torch.Tensor = heard.pooler_output[0]
        return rows


class GraniteSpeechPlus(GraniteSpeech):
    """Frames from within the encoder beside its last; what its adapter said is in its weights."""

    name = "granite_speech_plus"
    encoder: ClassVar = {"num_layers": 3, "cat_hidden_layers": [0, 1], "conv_kernel_size": 8}
    has_adapter = False
    classes: ClassVar = ("GraniteSpeechPlusConfig", "GraniteSpeechPlusForConditionalGeneration")
    lengths_s: ClassVar = (0.02, 0.3, 4.0, 5.37)


class Phi4(Tiny):
    name = "phi4_multimodal"
    specials: ClassVar = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>", "<|audio|>"]
    # One row; two; many; as many as its makers take at once.
    lengths_s: ClassVar = (0.08, 0.16, 1.2, 5.44, 30.0, 40.0)
    template: ClassVar = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )

    def make(self) -> None:
        from transformers import Phi4MultimodalConfig, Phi4MultimodalForCausalLM

        self.tokenizer = write_tokenizer(
            self.folder, self.specials, self.pattern, template=self.template, eos_token="<|end|>"
        )
        ids = self.tokens(*self.specials)
        rope = {"rope_type": "longrope", "rope_theta": 1e4, "partial_rotary_factor": 0.75}
        rope |= {"short_factor": [1.0 + 0.1 * n for n in range(12)], "long_factor": 12 * [8.0]}
        config = Phi4MultimodalConfig(
            **LLM,
            vocab_size=padded_size(self.tokenizer),
            tie_word_embeddings=True,
            rope_parameters={**rope, "original_max_position_embeddings": 1024},
            original_max_position_embeddings=1024,
            bos_token_id=ids["<|endoftext|>"],
            eos_token_id=[ids["<|end|>"]],
            pad_token_id=ids["<|endoftext|>"],
            vision_config={
                "hidden_size": 32,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 56,
                "crop_size": 56,
            },
            audio_config={
                "hidden_size": 64,
                "intermediate_size": 96,
                "num_blocks": 2,
                "num_attention_heads": 2,
                "ext_pw_out_channel": 64,
                "depthwise_separable_out_channel": 64,
                "nemo_conv_channels": 8,
                # Nearer than the longest sound, or its end would not be tested.
                "bias_max_distance": 300,
                "audio_token_id": ids["<|audio|>"],
            },
        )
        self.model = Phi4MultimodalForCausalLM(config).eval().float()
        embed = self.model.model.embed_tokens_extend.audio_embed
        draw(embed)
        torch.nn.init.normal_(embed.up_proj_for_speech.weight, 0, 0.24)
        torch.nn.init.normal_(embed.down_proj_for_speech.weight, 0, 0.16)
        torch.nn.init.normal_(embed.encoder.relative_attention_bias_layer.bias_values.weight, 0, 1)
        embed.encoder.encoder_embedding.global_mean.normal_(8, 1)
        embed.encoder.encoder_embedding.global_invstd.uniform_(0.2, 0.4)
        self.model.save_pretrained(str(self.folder))
        (self.folder / "speech-lora").mkdir()
        targets = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
        layers = self.model.model.layers
        write_adapter(self.folder / "speech-lora", layers, targets, "model.layers.")

    def rows(self, audio: Array) -> torch.Tensor:
        from transformers import Phi4MultimodalFeatureExtractor

        made = Phi4MultimodalFeatureExtractor()(audio, sampling_rate=16_000)
        embed = self.model.model.embed_tokens_extend.audio_embed
        count = int(made["audio_embed_sizes"][0])
        ids = torch.full((1, count), self.model.config.audio_config.audio_token_id)
        with torch.no_grad():
            rows: torch.Tensor = embed(
                ids,
                torch.zeros(1, count, 128),
                made["audio_input_features"],
                made["audio_embed_sizes"],
            )[0]
        return rows


class FunAsr(Tiny):
    name = "fun_asr"
    specials: ClassVar = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>"]
    lengths_s: ClassVar = (0.06, 0.12, 1.2, 5.4, 30.0)

    def make(self) -> None:
        from transformers import FunAsrNanoConfig, FunAsrNanoForConditionalGeneration

        self.tokenizer = write_tokenizer(
            self.folder,
            self.specials,
            self.pattern,
            template=PARTS.replace("SOUND", "<|object_ref_start|>"),
            eos_token="<|im_end|>",
        )
        config = FunAsrNanoConfig(
            audio_config={
                "model_type": "fun_asr_nano_encoder",
                "hidden_size": 64,
                "num_attention_heads": 2,
                "intermediate_size": 128,
                "num_hidden_layers": 3,
                "num_timestamp_prediction_layers": 1,
            },
            adaptor_config={
                "hidden_size": 128,
                "num_attention_heads": 2,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "projector_hidden_size": 96,
            },
            text_config={
                **LLM,
                "model_type": "qwen3",
                "head_dim": 32,
                "vocab_size": padded_size(self.tokenizer),
                "eos_token_id": [self.tokens("<|im_end|>")["<|im_end|>"]],
            },
            audio_token_id=self.tokens(self.specials[-1])[self.specials[-1]],
        )
        self.model = FunAsrNanoForConditionalGeneration(config).eval().float()
        draw(self.model.model.audio_tower)
        draw(self.model.model.multi_modal_projector)
        self.model.save_pretrained(str(self.folder))

    def rows(self, audio: Array) -> torch.Tensor:
        from types import SimpleNamespace

        from transformers.models.fun_asr_nano.feature_extraction_fun_asr_nano import (
            FunAsrNanoFeatureExtractor,
        )

        # Its front end wants torchaudio, which is not there; what it does with the frames does not.
        stacking = SimpleNamespace(num_frames_lfr=7, stride_lfr=6)
        stacked = FunAsrNanoFeatureExtractor._apply_lfr(stacking, kaldi_frames(audio))[None]
        mask = torch.ones(stacked.shape[:2], dtype=torch.long)
        with torch.no_grad():
            rows: torch.Tensor = self.model.get_audio_features(stacked, mask).pooler_output
        return rows


def kaldi_frames(audio: Array) -> torch.Tensor:
    """Log-mel frames [n, 80] as torchaudio.compliance.kaldi.fbank gives them, in 64 bits."""
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    bank = mel_filter_bank(
        257, 80, 20, 8000, 16_000, mel_scale="kaldi", triangularize_in_mel_space=True
    )
    frames = spectrogram(
        audio.astype(np.float64),
        window_function(400, "hamming", periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        remove_dc_offset=True,
        mel_filters=bank,
        log_mel="log",
        mel_floor=1.1920928955078125e-07,
    )
    return torch.from_numpy(frames.T).float()
