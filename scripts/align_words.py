"""Add word times to a manifest by forced alignment with a checkpoint's CTC head.

Needs torch (to read the checkpoint) and gguf (to read the LLM's token embeddings), which the
training extras bring. The CTC head's matrix is the LLM's embedding matrix, centred and normalised;
its input is the projector's hidden state, recovered from the shipped encoder's output by inverting
its last linear layer. Confidence of a word is the least posterior of its tokens.

    python scripts/align_words.py --checkpoint checkpoint.pt --manifest data/manifest.jsonl \
        -o data/words.jsonl
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
import numpy as np

from edge_audiokv.audio.file import read_all
from edge_audiokv.calibrate.alignment import ctc_words, log_softmax
from edge_audiokv.calibrate.clips import read_entries, spoken
from edge_audiokv.calibrate.parts import Parts, load_parts
from edge_audiokv.errors import InputError


class CTCHead:
    """Posteriors over blank and a restricted LLM vocabulary, float32 [T, 1 + V]."""

    def __init__(self, checkpoint: Path, gguf_path: Path) -> None:
        import gguf
        import torch

        saved = torch.load(checkpoint, map_location="cpu", weights_only=False)
        head, audio = saved["ctc"], saved["audio"]
        reader = gguf.GGUFReader(str(gguf_path))
        tensor = next(t for t in reader.tensors if t.name == "token_embd.weight")
        embedding = gguf.dequantize(tensor.data, tensor.tensor_type)
        vocabulary = np.asarray(saved["vocab"])
        rows = embedding[vocabulary].astype(np.float32)
        rows -= rows.mean(axis=0)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        self.matrix = np.concatenate([head["blank"].float().numpy(), rows])
        self.bias = head["bias"].float().numpy()
        self.scale = float(head["scale"])
        self.post = audio["post.weight"].float().numpy()
        self.post_bias = audio["post.bias"].float().numpy()
        self.label_of = {int(token): i + 1 for i, token in enumerate(vocabulary)}

    def log_probs(self, embeddings: np.ndarray) -> np.ndarray:
        hidden = np.linalg.solve(self.post, (embeddings - self.post_bias).T).T
        return log_softmax(self.scale * hidden @ self.matrix.T + self.bias)


def align(parts: Parts, head: CTCHead, audio: np.ndarray, text: str) -> list[dict[str, Any]]:
    """Word dictionaries of one clip. Raises InputError if the text cannot be aligned."""
    words = spoken(text).split()
    labels = []
    for word in words:
        ids = parts.model.tokenize(" " + word, special=False)
        if any(token not in head.label_of for token in ids):
            raise InputError(f"{word!r} is spelt with tokens that the CTC head does not know.")
        labels.append([head.label_of[token] for token in ids])
    posteriors = head.log_probs(parts.encoder.encode(audio))
    found = ctc_words(posteriors, words, labels, frame_s=1 / parts.encoder.tokens_per_second)
    return [
        {
            "text": word.text,
            "start_s": round(word.start_s, 3),
            "end_s": round(word.end_s, 3),
            "confidence": round(word.confidence, 4),
        }
        for word in found
    ]


@click.command(help=__doc__)
@click.option("--checkpoint", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--manifest", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--model", default="smollm2-audio", show_default=True)
@click.option("--limit", type=int, default=10**9, help="At most so many clips.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(checkpoint: Path, manifest: Path, model: str, limit: int, output: Path) -> None:
    parts = load_parts(model)
    head = CTCHead(checkpoint, parts.local.gguf_path)
    lines, skipped = [], 0
    for entry in read_entries(manifest)[:limit]:
        path = (manifest.parent / entry["path"]).resolve()
        try:
            entry["words"] = align(parts, head, read_all(path), entry["text"])
        except InputError as error:
            click.echo(f"{entry.get('id')}: {error}", err=True)
            skipped += 1
            continue
        entry["path"] = os.path.relpath(path, output.resolve().parent)
        lines.append(json.dumps(entry))
    part = output.with_name(output.name + ".part")
    part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(part, output)
    click.echo(f"{len(lines)} clips aligned, {skipped} skipped: {output}")


if __name__ == "__main__":
    main()
