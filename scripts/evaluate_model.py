#!/usr/bin/env python3
"""WER of a checkpoint per corpus (raw, loop cut, CTC heads), recall tasks, and answers to noise."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from edge_audiokv.eval.tasks import TRANSCRIBE
from edge_audiokv.train import state
from edge_audiokv.train.config import Data, Run
from edge_audiokv.train.corpus import Corpus
from edge_audiokv.train.listener import build_listener, greedy_wer, open_sets
from edge_audiokv.train.llama import Llama
from edge_audiokv.train.prompts import Prompter
from edge_audiokv.train.recall import recall
from edge_audiokv.train.transcribe import cut_loop, nats_per_token, transcribe
from edge_audiokv.train.wer import word_error_rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument(
        "--corpora", type=Path, nargs="+", required=True, help="paths without suffix"
    )
    parser.add_argument("--most", type=int, default=100, help="utterances a corpus")
    parser.add_argument("--recall-s", type=float, nargs="*", default=[], help="lengths of joins")
    parser.add_argument("--tries", type=int, default=20, help="questions a task and length")
    parser.add_argument("--noise", type=Path, help="corpus without speech; odd clips are asked")
    parser.add_argument("--out", type=Path, help="texts and figures as JSON")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    saved = state.load(args.checkpoint)
    run = replace(Run(Path()), data=Data(dev={c.name: str(c.resolve()) for c in args.corpora}))
    listener = build_listener(run, saved)
    llm = Llama(int(saved["lora_rank"]))
    llm.load_lora(saved["lora"])
    _, sets = open_sets(run, listener)
    report: dict[str, object] = {}
    for name, speech in sets.items():
        said, heard = transcribe(listener, llm, speech, args.most, 160)
        raw = word_error_rate(said, heard)
        cut = word_error_rate(said, [cut_loop(h) for h in heard])
        heads = greedy_wer(listener, speech, args.most)
        nats = nats_per_token(listener, llm, speech, args.most)
        report[name] = {
            "nats_per_token": nats,
            "raw": asdict(raw),
            "loop_cut": asdict(cut),
            "ctc": heads,
            "looped": sum(cut_loop(h) != h for h in heard),
            "texts": list(zip(said, heard, strict=True)),
        }
        print(
            f"{name}: WER {raw.rate:.1%} [{raw.low:.1%}, {raw.high:.1%}], cut {cut.rate:.1%} "
            f"[{cut.low:.1%}, {cut.high:.1%}], CTC {heads}, {nats:.3f} nats a token, "
            f"{raw.utterances} utterances",
            flush=True,
        )
        for seconds in args.recall_s:
            for deaf in (False, True):
                for score in recall(listener, llm, speech, seconds, args.tries, deaf):
                    label = "noise" if deaf else "sound"
                    report[f"{name}-{score.kind}-{seconds:g}s-{label}"] = asdict(score)
                    print(
                        f"  {score.kind}, {seconds:g} s of {label}: {score.right}/{score.tries}",
                        flush=True,
                    )
    if args.noise:
        noise, prompter = Corpus([args.noise]), Prompter(llm)
        spoke = []
        odd = range(1, len(noise), 2)
        some = next(iter(sets.values())).sets[0]
        for row in odd:
            with torch.no_grad():
                mel = some.mel(noise.audio(row))[None]
                embeddings = listener.audio.hear(listener.audio.encode(mel)).embeddings[0]
            prompt = torch.cat(prompter.prompt([embeddings], TRANSCRIBE))
            text = prompter.tokenizer.decode(llm.generate([prompt], 20)[0]).strip()
            spoke.append(text)
        talked = [t for t in spoke if t]
        report["noise"] = {"clips": len(spoke), "with_words": len(talked), "texts": talked}
        print(f"noise: words invented in {len(talked)} of {len(spoke)} clips")
    if args.out:
        args.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
