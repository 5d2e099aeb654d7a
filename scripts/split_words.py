#!/usr/bin/env python3
"""Rewrite an encoder.onnx that was exported with its words in one piece: less memory, same words.

python scripts/split_words.py models/mine/encoder.onnx --entry models/mine/model.toml
"""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx

from edge_audiokv.train.export import describe, update_entry
from edge_audiokv.train.word_blocks import split_words


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("graph", type=Path, help="rewritten in place")
    parser.add_argument("--entry", type=Path, help="model.toml whose sizes and hashes to renew")
    args = parser.parse_args()
    model = onnx.load(str(args.graph))
    split_words(model)
    onnx.checker.check_model(model)
    part = args.graph.with_suffix(".part.onnx")
    onnx.save(model, str(part))
    part.replace(args.graph)
    size, digest = describe(args.graph)
    print(f"{args.graph.name}: {size / 1e6:.2f} MB, sha256 {digest}")
    if args.entry:
        update_entry(args.entry, {args.graph.name: (size, digest)})


if __name__ == "__main__":
    main()
