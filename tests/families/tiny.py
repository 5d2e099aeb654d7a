"""Tiny random checkpoints of the real classes, and what transformers makes of a sound with them.

Weights are drawn harshly: at a model's own initialisation even a wrong tower is near the right one.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor

from edge_audiokv.families.split import PATTERNS

Array = NDArray[np.float32]
LLM = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
    "initializer_range": 0.15,
}
TOWER = {
    "d_model": 64,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 128,
    "num_mel_bins": 128,
}
# The same under the names of newer configurations.
ENCODER = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "num_mel_bins": 128,
}
_WORDS = "the quick brown fox transcribe the audio please user assistant what is said here"
_PATTERN = {name: pattern for pattern, name in PATTERNS.items()}


def sound(seconds: float, seed: int = 0) -> Array:
    """Tones under a slow envelope, with noise: float32 [S] at 16 kHz, S a multiple of 160."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * 100) * 160) / 16_000
    tones = sum(
        np.sin(2 * np.pi * hz * time_s + rng.uniform(0, 6)) * rng.uniform(0.02, 0.2)
        for hz in (120, 240, 700, 1800, 3100)
    )
    slow = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * time_s)
    noise = 0.01 * rng.standard_normal(len(time_s))
    return np.asarray(tones * slow + noise, dtype=np.float32)


def write_tokenizer(
    folder: Path, specials: list[str], pattern: str, *, template: str = "", **names: str
) -> PreTrainedTokenizerFast:
    """A byte-level BPE of some 400 tokens with the split of a real one; `names` as bos_token."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN[pattern]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    raw.train_from_iterator([_WORDS] * 20, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=raw, **names)
    made.add_special_tokens({"additional_special_tokens": specials})
    if template:
        made.chat_template = template
    made.save_pretrained(str(folder))
    return made


def padded_size(tokenizer: PreTrainedTokenizerFast) -> int:
    """Vocabularies of real models are padded, too."""
    return (len(tokenizer) + 63) // 64 * 64


def draw(module: nn.Module) -> None:
    """Weights of a tower that no mistake gets past."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if "embed_positions" in name:
                weight.normal_(0, 0.3)
            elif name.endswith("bias"):
                weight.normal_(0, 0.05)
            elif weight.ndim >= 2:
                weight.normal_(0, 0.12)
            else:
                weight.normal_(1, 0.2)


def plant_code(folder: Path, mark: Path) -> None:
    """Code in a checkpoint that makes `mark` if anything runs it."""
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass C: pass\n")
    classes = {"AutoConfig": "evil.C", "AutoModel": "evil.C", "AutoTokenizer": ["evil.C", "evil.C"]}
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, "auto_map": classes}))


class Tiny:
    """A checkpoint in `folder`, and its reference."""

    name: ClassVar[str]
    specials: ClassVar[list[str]]
    pattern: ClassVar[str] = "qwen2"
    lengths_s: ClassVar[tuple[float, ...]]
    """The shortest, a boundary of chunks, an ordinary one, and the longest window."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        torch.manual_seed(5)
        self.make()

    @abstractmethod
    def make(self) -> None:
        """Write the checkpoint and keep the model as `self.model`."""

    @abstractmethod
    def rows(self, audio: Array) -> torch.Tensor:
        """Rows [T, d_model] that the reference makes of samples [S]."""

    def parts(self) -> dict[str, Path]:
        """What else the converter is told."""
        return {}

    def tokens(self, *specials: str) -> dict[str, int]:
        ids = self.tokenizer.convert_tokens_to_ids(list(specials))
        return dict(zip(specials, ids, strict=True))

    def greedy(
        self, before: list[int], rows: Array, after: list[int], count: int
    ) -> tuple[list[int], list[Array]]:
        """The likeliest tokens, one after the other, and the logits [V] that each was chosen by."""
        table = self.model.get_input_embeddings()
        with torch.no_grad():
            parts = [table(torch.tensor([before])), torch.as_tensor(rows)[None]]
            embeds, cache = torch.cat([*parts, table(torch.tensor([after]))], dim=1), None
            tokens: list[int] = []
            steps: list[Array] = []
            for _ in range(count):
                out = self.model(inputs_embeds=embeds, use_cache=True, **_given(cache))
                cache = out.get("cache", out.get("past_key_values"))
                steps.append(out.logits[0, -1].numpy())
                tokens.append(int(steps[-1].argmax()))
                embeds = table(torch.tensor([tokens[-1:]]))
        return tokens, steps

    model: Any
    tokenizer: PreTrainedTokenizerFast


def _given(cache: Any) -> dict[str, Any]:
    import inspect

    from transformers import LlamaForCausalLM

    if cache is None:
        return {}
    known = inspect.signature(LlamaForCausalLM.forward).parameters
    return {"cache" if "cache" in known else "past_key_values": cache}


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
        self.model.save_pretrained(str(self.folder))

    def rows(self, audio: Array) -> torch.Tensor:
        made = WhisperFeatureExtractor(feature_size=128, chunk_length=60)(
            audio,
            sampling_rate=16_000,
            return_attention_mask=True,
            padding="max_length",
            return_tensors="pt",
        )
        with torch.no_grad():
            heard = self.model.get_audio_features(
                made["input_features"], feature_attention_mask=made["attention_mask"]
            )
        rows: torch.Tensor = heard.last_hidden_state
        return rows


class Voxtral(Tiny):
    name, pattern = "voxtral", "tekken"
    specials: ClassVar = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AUDIO]"]
    specials += ["[BEGIN_AUDIO]", "[TRANSCRIBE]"]
    lengths_s: ClassVar = (0.02, 1.2, 5.37, 29.96, 30.0)

    def make(self) -> None:
        from transformers import VoxtralConfig, VoxtralForConditionalGeneration

        self.tokenizer = write_tokenizer(
            self.folder, self.specials, self.pattern, bos_token="<s>", eos_token="</s>"
        )
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


# As the processors' templates have it: parts of a turn in their order.
PARTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for part in m.content %}"
    "{% if part.type == 'audio' %}SOUND{% else %}{{ part.text }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


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


def masked_rows(model: Any, audio: Array) -> torch.Tensor:
    """Rows of a sound in a window of 30 s whose rest is masked."""
    made = WhisperFeatureExtractor(feature_size=128)(
        audio,
        sampling_rate=16_000,
        return_attention_mask=True,
        padding="max_length",
        return_tensors="pt",
    )
    with torch.no_grad():
        heard = model.get_audio_features(made["input_features"], made["attention_mask"])
    rows: torch.Tensor = heard.pooler_output
    return rows


ALL: tuple[type[Tiny], ...] = (
    Ultravox,
    Qwen3ASR,
    Qwen2Audio,
    Qwen25Omni,
    Voxtral,
    AudioFlamingo,
    GlmAsr,
)
