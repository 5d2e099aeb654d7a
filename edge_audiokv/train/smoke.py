"""The whole chain in about two minutes, on sound that it makes itself.

Each of a dozen words is a chord; that is enough to see every part run, losses fall and a resumed
run go on. It says nothing about speech.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edge_audiokv.train.config import load_run
from edge_audiokv.train.corpus import SAMPLE_RATE_HZ, Audio, Corpus, CorpusWriter
from edge_audiokv.train.ctc_stage import train_ctc
from edge_audiokv.train.export import describe, export, parity
from edge_audiokv.train.features import compute_features
from edge_audiokv.train.llm_stage import train_llm
from edge_audiokv.train.whisper import load_tiny_en

WORDS = ("river", "garden", "seven", "window", "paper", "morning", "green", "letter")
CONFIG = """
out = "run"
threads = 2
vocabulary_size = 200
[data]
train = ["tones"]
noise = "hiss"
vocabulary_texts = ["words.txt"]
[data.variations]
tones = [0, 1]
[data.dev]
tones = "few"
[ctc]
max_steps = {ctc_steps}
batch_s = 30.0
warmup_steps = 2
log_every = 5
[llm]
max_steps = {llm_steps}
batch_s = 12.0
ctc_batches = 1
ctc_batch_s = 12.0
lora_rank = 4
join_share = 0.5
noise_share = 0.5
warmup_steps = 1
max_new_tokens = 4
log_every = 2
"""


@dataclass(frozen=True)
class Outcome:
    """What the smoke run saw; the test checks each."""

    ctc_loss_first: float
    ctc_loss_last: float
    llm_loss_last: float
    resumed_from_step: int
    last_step: int
    onnx_difference: float
    files: dict[str, int]


def chord(word: str) -> Audio:
    """0.4 s of three sines that belong to a word, with soft edges."""
    pitch = np.random.default_rng(sum(map(ord, word))).uniform(150, 3000, 3)
    time_s = np.arange(int(0.4 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    wave = np.sin(2 * np.pi * pitch[:, None] * time_s).sum(0) * np.hanning(len(time_s))
    return (0.1 * wave).astype(np.float32)


def make_data(folder: Path) -> None:
    """Corpora `tones`, `few` and `hiss`."""
    rng = random.Random(0)
    (folder / "words.txt").write_text(" ".join(WORDS))
    for name, size in (("tones", 24), ("few", 3)):
        writer = CorpusWriter(folder / name)
        for i in range(size):
            words = rng.choices(WORDS, k=rng.randint(2, 6))
            writer.add(str(i), " ".join(words), "chords", np.concatenate([chord(w) for w in words]))
        writer.close()
    writer = CorpusWriter(folder / "hiss")
    for i in range(4):
        hiss = np.random.default_rng(i).standard_normal(SAMPLE_RATE_HZ) * 0.01
        writer.add(str(i), "", "none", hiss.astype(np.float32))
    writer.close()


def smoke(folder: Path) -> Outcome:
    """Data, features, both stages (the first one resumed), export and parity, inside `folder`."""
    make_data(folder)
    encoder, noise = load_tiny_en().eval(), Corpus([folder / "hiss"])
    for variation in (0, 1):
        compute_features(folder / "tones", variation, encoder, noise)
    config = folder / "run.toml"
    for ctc_steps in (20, 40):
        config.write_text(CONFIG.format(ctc_steps=ctc_steps, llm_steps=4))
        run = load_run(config)
        train_ctc(run)
    train_llm(run)
    rows = [json.loads(line) for line in (run.out_dir / "ctc.jsonl").read_text().splitlines()]
    losses = [row["loss_ctc"] for row in rows if "loss_ctc" in row]
    starts = [row["step"] for row in rows if "hours" in row]
    heard = [json.loads(line) for line in (run.out_dir / "llm.jsonl").read_text().splitlines()]
    export(run.out_dir / "llm.pt", folder / "model")
    made = [*(folder / "model").iterdir(), run.out_dir / "ctc.png", run.out_dir / "llm.png"]
    return Outcome(
        ctc_loss_first=losses[0],
        ctc_loss_last=losses[-1],
        llm_loss_last=[row["loss_answers"] for row in heard if "loss_answers" in row][-1],
        resumed_from_step=starts[-1],
        last_step=rows[-1]["step"],
        onnx_difference=parity(run.out_dir / "llm.pt", folder / "model" / "encoder.onnx"),
        files={f.name: describe(f)[0] for f in made},
    )


def as_json(outcome: Outcome) -> str:
    return json.dumps(asdict(outcome))
