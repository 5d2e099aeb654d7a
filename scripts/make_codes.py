#!/usr/bin/env python3
"""Make spoken digit codes for `edge-audiokv eval codes`: FLAC files and their manifest.jsonl.

With --places every code is that of another place ("the code of the kitchen is ..."), so that one
recording can hold several.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import soundfile

from edge_audiokv.train.corpus import SAMPLE_RATE_HZ
from edge_audiokv.train.speech import ENGINES, code_sentence, open_voice

# Words that are heard well, and seldom said in books.
_PLACES_TEXT = """
kitchen garage hospital library museum station airport factory theater laboratory basement balcony
bakery cinema hotel restaurant supermarket university stadium aquarium pharmacy workshop warehouse
nursery bathroom cafeteria gallery casino elevator dormitory ballroom harbor lighthouse monastery
observatory orchard parliament embassy consulate zoo
"""
PLACES = _PLACES_TEXT.split()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=ENGINES, required=True)
    parser.add_argument("--voices", type=Path, default=Path("voices"), help="Kokoro voice files")
    parser.add_argument("--out", type=Path, required=True, help="folder, made if need be")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--places", action="store_true", help="each code is that of a place")
    args = parser.parse_args()
    if args.places and args.count > len(PLACES):
        parser.error(f"--places: there are {len(PLACES)} of them; use --count {len(PLACES)}")
    rng = random.Random(args.seed)
    voice = open_voice(args.engine, args.voices)
    args.out.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(args.count):
        text, digits = code_sentence(rng, place=PLACES[number] if args.places else None)
        audio, speaker = voice.say(text, rng)
        name = f"{number:03d}-{digits}.flac"
        soundfile.write(args.out / name, audio, SAMPLE_RATE_HZ)
        lines.append(json.dumps({"path": name, "text": text, "speaker": speaker}))
    (args.out / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
