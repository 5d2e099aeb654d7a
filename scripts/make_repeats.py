#!/usr/bin/env python3
"""Make joins that say a phrase two to four times, for `edge-audiokv eval repeats`.

The words of each clip are found with the default model's encoder; parts are cut at pauses.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import soundfile

from edge_audiokv.audio.files.file import read_all
from edge_audiokv.audio.source import SAMPLE_RATE_HZ
from edge_audiokv.engine.alignment.path import align
from edge_audiokv.engine.alignment.times import timed
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.eval.repeats.joins import Stretch, make_joins, stretches
from edge_audiokv.eval.wer import read_manifest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="clips with their texts")
    parser.add_argument("--speaker", action="append", default=[], help="only this one; repeatable")
    parser.add_argument("--out", type=Path, required=True, help="folder, made if need be")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--model", default="smollm2-audio")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    clips = read_manifest(args.manifest, speakers=args.speaker)
    parts: list[Stretch] = []
    with Runtime(EngineSettings(model=args.model)) as runtime:
        encoder, floor = runtime.encoder, runtime.local.entry.word_floor
        for clip in clips:
            samples = read_all(clip.path)
            if len(samples) > encoder.max_window_samples:
                continue
            alignment = align(clip.text, encoder.hear(samples), encoder.words, floor=floor)
            words = timed(alignment, frame_s=1 / encoder.tokens_per_second)
            parts += stretches(clip.id, clip.speaker, samples, words)
    (args.out / "parts").mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    names: dict[int, str] = {}
    for number, join in enumerate(make_joins(parts, count=args.count, seed=args.seed)):
        for part in join.parts:
            if id(part) not in names:
                names[id(part)] = f"parts/{len(names):04d}-{part.source}.flac"
                soundfile.write(args.out / names[id(part)], part.samples, SAMPLE_RATE_HZ)
        name = f"{number:03d}-{join.phrase.source}-{join.times}.flac"
        soundfile.write(args.out / name, join.samples, SAMPLE_RATE_HZ)
        record = {
            "id": Path(name).stem,
            "path": name,
            "text": join.text,
            "speaker": join.phrase.speaker,
            "times": join.times,
            "parts": [{"path": names[id(part)], "text": part.text} for part in join.parts],
        }
        lines.append(json.dumps(record))
    (args.out / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} joins of {len(names)} parts in {args.out}")


if __name__ == "__main__":
    main()
