"""Add word times to a manifest by forced alignment with a training checkpoint's word posteriors.

Needs the training packages (torch, tokenizers, Whisper's weights). Texts are spelled as in
training; the best CTC path of a text says where each word lies. The confidence of a word is the
least posterior of its tokens.

    python scripts/align_words.py --checkpoint llm.pt --manifest data/manifest.jsonl \
        -o data/words.jsonl
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from edge_audiokv.audio.file import read_all
from edge_audiokv.calibrate.alignment import ctc_words, log_softmax
from edge_audiokv.calibrate.clips import read_entries, spoken
from edge_audiokv.errors import InputError
from edge_audiokv.kv.shape import FloatArray

if TYPE_CHECKING:
    from edge_audiokv.train.listener import Listener

PLACE_S = 0.08  # one place of the audio model


def open_listener(checkpoint: Path) -> Listener:
    """The audio side of a checkpoint."""
    from edge_audiokv.train import state
    from edge_audiokv.train.config import Run
    from edge_audiokv.train.listener import build_listener

    return build_listener(Run(folder=checkpoint.parent), state.load(checkpoint))


def posteriors(listener: Listener, audio: FloatArray) -> FloatArray:
    """Log posteriors [T, 1 + C] of blank and words, from samples [N] at 16 kHz."""
    import torch

    from edge_audiokv.train.features import whole_tokens

    samples = torch.from_numpy(np.ascontiguousarray(whole_tokens(audio)))[None]
    with torch.no_grad():
        heard = listener.audio.hear(listener.audio.encode(listener.audio.mel(samples)))
        return log_softmax(heard.logits[0].float().numpy())


def timed_words(
    log_probs: FloatArray, text: str, spell: Callable[[str], list[int]]
) -> list[dict[str, Any]]:
    """Words with times of one clip; `spell` gives the classes of a word.

    Raises InputError if a word cannot be spelled or the text does not fit the sound.
    """
    words = spoken(text).split()
    labels = [spell(word) for word in words]
    if missing := [word for word, classes in zip(words, labels, strict=True) if not classes]:
        raise InputError(f"{missing[0]!r} cannot be spelled in the checkpoint's vocabulary.")
    found = ctc_words(log_probs, words, labels, frame_s=PLACE_S)
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
@click.option("--limit", type=int, default=10**9, help="At most so many clips.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def main(checkpoint: Path, manifest: Path, limit: int, output: Path) -> None:
    listener = open_listener(checkpoint)
    lines, skipped = [], 0
    for entry in read_entries(manifest)[:limit]:
        path = (manifest.parent / entry["path"]).resolve()
        try:
            log_probs = posteriors(listener, read_all(path))
            entry["words"] = timed_words(log_probs, entry["text"], listener.spelling.classes)
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
