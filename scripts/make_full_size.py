"""Make a checkpoint of full size with random weights, to see what a real one will take.

    python scripts/make_full_size.py qwen3-asr-0.6b checkpoint
    edge-audiokv models convert checkpoint -o model
    edge-audiokv listen talk.flac -m ./model --mem 2GB --policy streaming

Shapes are those of the public models; its text means nothing. Needs the `convert` extra, and for a
moment twice the checkpoint's size in memory.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parents[1]))

from tests.families.chunked import Qwen3ASR
from tests.families.tiny import write_tokenizer

_PAD_TOKENS = 151_936
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
    Qwen3ASRForConditionalGeneration(config).save_pretrained(str(folder))


if __name__ == "__main__":
    main()
