"""Make a checkpoint of full size with random weights, to see what a real one will take.

    python scripts/make_full_size.py qwen3-asr-0.6b checkpoint
    edge-audiokv models convert checkpoint -o model
    python scripts/measure_remembered.py clips.jsonl 2GB 4GB -m ./model

Shapes are those of the public models. What it writes means nothing and is the same for every
segment: `TOKENS` tokens, so that nothing is cut as a loop. Needs the `convert` extra, and for a
moment twice the checkpoint's size in memory.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch

sys.path.append(str(Path(__file__).resolve().parents[1]))

from tests.families.chunked import Qwen3ASR
from tests.families.tiny import write_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PAD_TOKENS = 151_936
# As many as four seconds of speech have.
TOKENS = 16
# How much of what layers add is left, so that the last layer knows the token it stands at; and how
# much it adds for the next one.
_QUIET, _SURE = 0.005, 5.0
SHAPES = {
    "qwen3-asr-0.6b": {"width": 1024, "feed": 3072, "tower": 896, "tower_layers": 18, "heads": 14},
    "qwen3-asr-1.7b": {"width": 2048, "feed": 6144, "tower": 1024, "tower_layers": 24, "heads": 16},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shape", choices=list(SHAPES))
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    given.folder.mkdir()
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    make(given.folder, **SHAPES[given.shape])


def make(folder: Path, *, width: int, feed: int, tower: int, tower_layers: int, heads: int) -> None:
    """A Qwen3-ASR of these widths, with a vocabulary of full size of which few tokens mean much."""
    from transformers import Qwen3ASRConfig, Qwen3ASRForConditionalGeneration

    tokenizer = write_tokenizer(folder, Qwen3ASR.specials, "qwen2", eos_token="<|im_end|>")
    ids = dict(
        zip(Qwen3ASR.specials, tokenizer.convert_tokens_to_ids(Qwen3ASR.specials), strict=True)
    )
    config = Qwen3ASRConfig(
        audio_config={
            "model_type": "qwen3_asr_encoder",
            "d_model": tower,
            "encoder_layers": tower_layers,
            "encoder_attention_heads": heads,
            "encoder_ffn_dim": 4 * tower,
            "num_mel_bins": 128,
            "output_dim": width,
            "downsample_hidden_size": 480,
            "n_window": 50,
            "n_window_infer": 800,
        },
        text_config={
            "model_type": "qwen3",
            "hidden_size": width,
            "intermediate_size": feed,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 65536,
            "vocab_size": _PAD_TOKENS,
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
            },
        },
        audio_token_id=ids["<|audio_pad|>"],
        eos_token_id=[ids["<|im_end|>"]],
        pad_token_id=ids["<|endoftext|>"],
    )
    model = Qwen3ASRForConditionalGeneration(config)
    plain = [token for token in sorted(tokenizer.get_vocab().values()) if token not in ids.values()]
    start = tokenizer.encode("\n", add_special_tokens=False)[-1]
    words = [token for token in plain[-2 * TOKENS :] if token != start][: TOKENS - 1]
    speak(model, [start, *words, ids["<|im_end|>"]])
    model.save_pretrained(str(folder))


def speak(model: PreTrainedModel, chain: list[int]) -> None:
    """Let each token of `chain` be followed by the next, whatever else was read.

    The other weights stay random and all take part. The last layer's feed-forward network is an
    associative memory (Geva et al. 2021): a neuron wakes at the embedding of one token and adds
    that of the next, which the tied output then finds.
    """
    table = model.get_input_embeddings().weight
    layers = model.get_decoder().layers
    with torch.no_grad():
        for layer in layers:
            layer.self_attn.o_proj.weight.mul_(_QUIET)
            layer.mlp.down_proj.weight.mul_(_QUIET)
        memory = layers[-1].mlp
        width = table.shape[1]
        for neuron, (token, following) in enumerate(itertools.pairwise(chain)):
            key = table[token] / table[token].norm()
            memory.gate_proj.weight[neuron] = key
            memory.up_proj.weight[neuron] = key
            # A normalised state has the length sqrt(width), and both of its products that much.
            memory.down_proj.weight[:, neuron] = table[following] * (_SURE / width)


if __name__ == "__main__":
    main()
