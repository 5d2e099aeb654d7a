#!/usr/bin/env python3
"""Write the reader's two graphs for Whisper tiny.en, check them, and update the catalog entry."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_audiokv.train.export import describe, update_entry
from edge_audiokv.train.reader_export import export_reader, parity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for both files")
    parser.add_argument("--entry", type=Path, help="model.toml whose sizes and hashes to renew")
    args = parser.parse_args()
    files = {path.name: describe(path) for path in export_reader(args.out)}
    for name, (size, digest) in files.items():
        print(f"{name}: {size / 1e6:.2f} MB, sha256 {digest}")
    print(f"largest difference from PyTorch: {parity(args.out):.1e}")
    if args.entry:
        update_entry(args.entry, files)


if __name__ == "__main__":
    main()
