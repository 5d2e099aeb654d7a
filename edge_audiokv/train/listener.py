"""The audio model with its word heads: built, restored, run on batches, measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edge_audiokv.train.batches import Batch, Mixture, SpeechSet
from edge_audiokv.train.config import Run
from edge_audiokv.train.corpus import Corpus
from edge_audiokv.train.ctc import compact_ctc, greedy
from edge_audiokv.train.features import FeatureStore, feature_stem
from edge_audiokv.train.frame_decoder import FrameDecoder
from edge_audiokv.train.llama import embedding_table
from edge_audiokv.train.projector import AudioModel, Heard, Projector, WordHead
from edge_audiokv.train.spelling import Spelling, llm_table, whisper_table
from edge_audiokv.train.wer import word_error_rate
from edge_audiokv.train.whisper import load_tiny_en, tiny_en_weights

# What Whisper itself writes where nobody speaks.
QUIET_TOKENS = ('"', "[", "(", "-")
BLANK_BIAS = 2.0
# Likeliest words of every place that the LLM-side head is compared at.
LIKELIEST = 4


@dataclass
class Listener:
    """The audio model, its word heads in both vocabularies, and how words are spelled."""

    audio: AudioModel
    words: WordHead
    copies: WordHead
    spelling: Spelling

    def heads(self) -> list[nn.Parameter]:
        return [*self.words.parameters(), *self.copies.parameters()]

    def state(self) -> dict[str, Any]:
        return {
            "audio": self.audio.state_dict(),
            "words": self.words.state_dict(),
            "copies": self.copies.state_dict(),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        # A small checkpoint may leave out the encoder: then Whisper's own, already here, stays.
        self.audio.load_state_dict({**self.audio.state_dict(), **saved["audio"]})
        self.words.load_state_dict(saved["words"])
        self.copies.load_state_dict(saved["copies"])


def build_listener(saved: dict[str, Any] | None) -> Listener:
    """Fresh from Whisper tiny.en, or as `saved` had it."""
    spelling = Spelling()
    quiet = [spelling.tokenizer.token_to_id(t) for t in QUIET_TOKENS]
    words = WordHead(whisper_table(spelling.tokens), whisper_table(quiet).mean(0), 1.0)
    directions, mean = llm_table(spelling, embedding_table())
    copies = WordHead(directions, torch.randn(directions.shape[1]) * 0.04, 1.0)
    audio = AudioModel(load_tiny_en(), FrameDecoder(), Projector())
    listener = Listener(audio, words, copies, spelling)
    if saved is not None:
        listener.restore(saved)
        return listener
    with torch.no_grad():
        silence = audio.encode(audio.mel(torch.zeros(1, 4 * 16_000)))[0]
        words.bias[0] = BLANK_BIAS
    audio.decoder.read(tiny_en_weights(), silence)
    audio.projector.start_at(mean)
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


def word_losses(
    listener: Listener, batch: Batch, heard: Heard, negatives: int
) -> tuple[Tensor, Tensor]:
    """(CTC loss of the words, divergence of the LLM-side head from them a place).

    CTC is normalised over the wanted and `negatives` random classes. The copy is taught by what
    the word head believes (Hinton et al. 2015), at its likeliest classes and the wanted ones;
    places where nothing is said count less.
    """
    classes = len(listener.spelling.tokens)
    targets = batch.classes
    wanted = torch.tensor([c for row in targets for c in row])
    drawn = torch.randint(1, classes + 1, (negatives,))
    subset = torch.unique(torch.cat([drawn, wanted]))
    local = {int(c): i + 1 for i, c in enumerate(subset)}
    targets = [[local[c] for c in row] for row in targets]
    words = compact_ctc(listener.words(heard.hidden, subset), batch.tokens, targets)

    real = torch.arange(heard.hidden.shape[1])[None] < batch.tokens[:, None]
    with torch.no_grad():
        believed = listener.words(heard.hidden[real]).float()
        likeliest = believed[:, 1:].topk(LIKELIEST).indices.flatten() + 1
        subset = torch.unique(torch.cat([drawn[: negatives // 4], wanted, likeliest]))
        columns = torch.cat([torch.zeros(1, dtype=torch.long), subset])
        belief = believed[:, columns].log_softmax(-1)
        weight = 1.2 - belief[:, 0].exp()
    said = listener.copies(heard.direction[real], subset).float().log_softmax(-1)
    apart = (belief.exp() * (belief - said)).sum(-1)
    return words, (apart * weight).sum() / weight.sum()


@torch.no_grad()
def greedy_wer(listener: Listener, speech: Mixture, most: int = 200) -> dict[str, float]:
    """WER of both heads' best paths over up to `most` utterances."""
    rows = list(range(len(speech)))[:most]
    said: list[str] = []
    read: dict[str, list[str]] = {"words": [], "copies": []}
    for at in range(0, len(rows), 16):
        batch = speech.batch(rows[at : at + 16])
        with torch.autocast("cpu", torch.bfloat16):
            heard = hear(listener.audio, batch)
            logits = {
                "words": listener.words(heard.hidden),
                "copies": listener.copies(heard.direction),
            }
        for name, scores in logits.items():
            for i, steps in enumerate(batch.tokens.tolist()):
                read[name].append(listener.spelling.text(greedy(scores[i], steps)))
        said += batch.texts
    print("  said ", said[0], *(f"\n  {n} {t[0]}" for n, t in read.items()), flush=True)
    return {n: round(word_error_rate(said, t, 10).rate, 4) for n, t in read.items()}
