#!/usr/bin/env python3
"""Encode corpora once with Whisper tiny.en, so that training need not (CORPUS:VARIATION ...)."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from edge_audiokv.train.corpus import Corpus
from edge_audiokv.train.features import compute_features
from edge_audiokv.train.whisper import load_tiny_en


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpora", nargs="+", help="path:0 as it is, path:1 and up varied")
    parser.add_argument("--noise", type=Path, help="corpus of sounds to mix in")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    noise = None
    if args.noise:
        noise = Corpus([args.noise])
        # Odd clips are kept for the test that noise gives no words.
        noise.keep(range(0, len(noise), 2))
    encoder = load_tiny_en().eval()
    for name in args.corpora:
        stem, _, variation = name.rpartition(":")
        print(compute_features(Path(stem), int(variation), encoder, noise, args.seed), flush=True)


if __name__ == "__main__":
    main()
