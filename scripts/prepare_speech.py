#!/usr/bin/env python3
"""Turn a folder with manifest.jsonl and sound files into a corpus (NAME.pcm + NAME.jsonl)."""

from __future__ import annotations

import argparse
from pathlib import Path

import soundfile

from edge_audiokv.train.corpus import MAX_SAMPLES, CorpusWriter, read_manifest
from edge_audiokv.train.speech import to_16k


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="corpus path without suffix")
    parser.add_argument("--speakers", nargs="*", help="only these speakers")
    parser.add_argument("--without", nargs="*", default=[], help="leave these speakers out")
    parser.add_argument("--last-speakers", type=int, default=0, help="only the last N speakers")
    parser.add_argument("--first-speakers", type=int, default=0, help="all but the last N speakers")
    parser.add_argument("--limit", type=int, default=0, help="only the first N utterances")
    args = parser.parse_args()
    rows = list(read_manifest(args.manifest))
    speakers = sorted({r.get("speaker", "") for r in rows})
    if args.last_speakers:
        speakers = speakers[-args.last_speakers :]
    if args.first_speakers:
        speakers = speakers[: -args.first_speakers]
    wanted = (set(args.speakers) if args.speakers else set(speakers)) - set(args.without)
    rows = [r for r in rows if r.get("speaker", "") in wanted]
    writer = CorpusWriter(args.out)
    for row in rows[: args.limit or None]:
        audio, rate_hz = soundfile.read(row["path"], dtype="float32", always_2d=True)
        mono = audio.mean(axis=1)
        mono = mono if rate_hz == 16_000 else to_16k(mono, rate_hz)
        if 4_800 <= len(mono) <= MAX_SAMPLES:
            writer.add(row["id"], row.get("text", ""), row.get("speaker", ""), mono)
    writer.close()
    print(f"{args.out}: {len(writer.rows)} utterances, {writer.position / 16_000 / 3600:.2f} h")


if __name__ == "__main__":
    main()
