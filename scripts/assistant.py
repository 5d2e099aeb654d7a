#!/usr/bin/env python
"""A small assistant: it listens, writes down what it hears, and answers what begins with its name.

python scripts/assistant.py                      # the microphone, until Ctrl-C
python scripts/assistant.py talk.flac --ask "What was decided?"
"""

import argparse
import sys

import edge_audiokv
from edge_audiokv.events import Answer, Final, SessionEnded, Warned


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("file", nargs="?", help="a sound file; the microphone if there is none")
    parser.add_argument("--name", default="computer", help="the word that begins a question")
    parser.add_argument("--ask", action="append", default=[], help="a question for the end")
    parser.add_argument("--mem", default="1GB", help="cap on the whole process")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()

    source = edge_audiokv.FileSource(args.file) if args.file else None
    with edge_audiokv.Session(mem=args.mem, threads=args.threads, wake_word=args.name) as session:
        try:
            for event in session.listen(source):
                match event:
                    case Final(text=text, start_s=start_s):
                        print(f"[{start_s:7.1f} s] {text}", flush=True)
                    case Answer(text=text):
                        print(f"            -> {text}", flush=True)
                    case Warned(message=message) | SessionEnded(reason=message):
                        print(f"            ({message})", flush=True)
        except KeyboardInterrupt:
            pass
        for question in args.ask:
            print(f"{question}\n            -> {session.ask(question).text}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except edge_audiokv.errors.EdgeAudioKVError as error:
        print(f"assistant: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
