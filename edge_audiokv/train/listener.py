"""The audio model and its words: built, restored, run on batches, measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edge_audiokv.train.batches import Batch, Mixture, SpeechSet
from edge_audiokv.train.config import Run
from edge_audiokv.train.corpus import Corpus
from edge_audiokv.train.ctc import compact_ctc, greedy
from edge_audiokv.train.features import FeatureStore, feature_stem
from edge_audiokv.train.frame_decoder import FrameDecoder
from edge_audiokv.train.llama import embedding_table
from edge_audiokv.train.projector import AudioModel, Heard, Projector, Words
from edge_audiokv.train.spelling import (
    Spelling,
    common_tokens,
    llm_table,
    load_whisper_tokenizer,
    whisper_table,
)
from edge_audiokv.train.wer import word_error_rate
from edge_audiokv.train.whisper import load_tiny_en, tiny_en_weights

# What Whisper itself writes where nobody speaks.
QUIET_TOKENS = ('"', "[", "(", "-")
BLANK_BIAS = 2.0
# Length of a believed word in the embeddings; token embeddings themselves stand 2.4 off their mean.
CONTRAST = 8.0


@dataclass
class Listener:
    """The audio model and how its words are spelled."""

    audio: AudioModel
    spelling: Spelling

    def state(self) -> dict[str, Any]:
        return {"audio": self.audio.state_dict(), "tokens": self.spelling.tokens}

    def restore(self, saved: dict[str, Any]) -> None:
        # A small checkpoint may leave out the encoder: then Whisper's own, already here, stays.
        self.audio.load_state_dict({**self.audio.state_dict(), **saved["audio"]})


def build_listener(run: Run, saved: dict[str, Any] | None) -> Listener:
    """Fresh from Whisper tiny.en and the LLM's embeddings, or as `saved` had it."""
    if saved is None:
        texts = [t for n in run.data.vocabulary_texts for t in run.path(n).read_text().splitlines()]
        tokens = common_tokens(texts, run.vocabulary_size)
    else:
        tokens = saved["tokens"]
    words = Words(len(tokens))
    audio = AudioModel(load_tiny_en(), FrameDecoder(), Projector(), words)
    listener = Listener(audio, Spelling(tokens))
    if saved is not None:
        listener.restore(saved)
        return listener
    found = [load_whisper_tokenizer().token_to_id(t) for t in QUIET_TOKENS]
    quiet = [token for token in found if token is not None]
    rows = llm_table(tokens, embedding_table())
    words.read(whisper_table(tokens), rows, CONTRAST)
    with torch.no_grad():
        silence = audio.encode(audio.mel(torch.zeros(1, 4 * 16_000)))[0]
        words.blank.copy_(whisper_table(quiet).mean(0, keepdim=True))
        words.bias[0] = BLANK_BIAS
    audio.decoder.read(tiny_en_weights(), silence)
    audio.start_bridge(rows.mean(0))
    return listener


def open_sets(run: Run, listener: Listener) -> tuple[Mixture, dict[str, Mixture]]:
    """The training mixture (half of the noise clips mixed in) and the development sets."""
    data, spelling = run.data, listener.spelling
    noise = None
    if data.noise:
        noise = Corpus([run.path(data.noise)])
        noise.keep(range(0, len(noise), 2))
    parts = []
    for name in data.train:
        chosen = data.variations.get(name, [])
        stores = [FeatureStore(feature_stem(run.path(name), v)) for v in chosen]
        speech = SpeechSet(Corpus([run.path(name)]), spelling, stores, noise)
        parts.append((speech, data.repeat.get(name, 1)))
    dev = {}
    for name, stem in data.dev.items():
        corpus = Corpus([run.path(stem)])
        speech = SpeechSet(corpus, spelling, check_pace=False)
        dev[name] = Mixture([(speech, 1)])
    return Mixture(parts), dev


def hear(audio: AudioModel, batch: Batch) -> Heard:
    """What the model makes of a batch, encoding only what is not stored."""
    features = audio.encode(batch.sound, batch.tokens) if batch.is_mel else batch.sound
    return audio.hear(features, batch.tokens)


def word_loss(batch: Batch, heard: Heard) -> Tensor:
    """CTC loss of a batch's words."""
    return compact_ctc(heard.logits, batch.tokens, batch.classes)


@torch.no_grad()
def greedy_wer(listener: Listener, speech: Mixture, most: int = 200) -> float:
    """WER of the words' best paths over up to `most` utterances."""
    rows = list(range(len(speech)))[:most]
    said: list[str] = []
    read: list[str] = []
    for at in range(0, len(rows), 16):
        batch = speech.batch(rows[at : at + 16])
        with torch.autocast("cpu", torch.bfloat16):
            logits = hear(listener.audio, batch).logits
        for i, steps in enumerate(batch.tokens.tolist()):
            read.append(listener.spelling.text(greedy(logits[i], steps)))
        said += batch.texts
    print("  said ", said[0], "\n  words", read[0], flush=True)
    return round(word_error_rate(said, read, 10).rate, 4)
