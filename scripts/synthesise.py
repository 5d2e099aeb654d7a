#!/usr/bin/env python3
"""Make speech to train on, offline: sentences in, a corpus (NAME.pcm + NAME.jsonl) out."""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import numpy as np

from edge_audiokv.train.corpus import MAX_SAMPLES, CorpusWriter
from edge_audiokv.train.speech import ENGINES, code_sentence, join_sentences, open_voice, sentences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=ENGINES, required=True)
    parser.add_argument(
        "--text", type=Path, nargs="+", required=True, help="files, one sentence a line"
    )
    parser.add_argument("--out", type=Path, required=True, help="corpus path without suffix")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--voices", type=Path, default=Path("voices"), help="Kokoro voice files")
    parser.add_argument("--codes", type=float, default=0.0, help="share of spoken digit codes")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    voice = open_voice(args.engine, args.voices)
    pool = sentences(args.text)
    rng.shuffle(pool)
    writer = CorpusWriter(args.out)
    started, at, seconds = time.monotonic(), 0, 0.0
    while seconds < args.hours * 3600:
        if rng.random() < args.codes:
            texts = [code_sentence(rng)[0]]
        else:
            many = rng.choices((1, 2, 3), (0.65, 0.25, 0.1))[0]
            texts = [pool[(at + i) % len(pool)] for i in range(many)]
            at += many
        audio, speaker = join_sentences(voice, texts, rng)
        if not 8000 <= len(audio) <= MAX_SAMPLES or not np.isfinite(audio).all():
            continue
        writer.add(f"{args.engine}-{args.seed}-{len(writer.rows)}", " ".join(texts), speaker, audio)
        seconds += len(audio) / 16000
        if len(writer.rows) % 50 == 0:
            writer.flush()
            speed = seconds / (time.monotonic() - started)
            print(f"{seconds / 3600:.2f} h, {speed:.1f} x real time", flush=True)
    writer.close()


if __name__ == "__main__":
    main()
