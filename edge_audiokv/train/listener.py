"""The audio model with its CTC heads: built, restored, run on batches, measured."""

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
from edge_audiokv.train.llama import embedding_table
from edge_audiokv.train.projector import LETTERS, AudioModel, LetterHead, PieceHead, Projector
from edge_audiokv.train.text import load_tokenizer, piece_vocabulary
from edge_audiokv.train.wer import word_error_rate
from edge_audiokv.train.whisper import load_tiny_en


@dataclass
class Listener:
    """The audio model, its CTC heads and the vocabulary that they share."""

    audio: AudioModel
    pieces: PieceHead
    letters: LetterHead
    vocabulary: list[int]
    merges: int

    def heads(self) -> list[nn.Parameter]:
        return [*self.pieces.parameters(), *self.letters.parameters()]

    def state(self) -> dict[str, Any]:
        return {
            "audio": self.audio.state_dict(),
            "pieces": self.pieces.state_dict(),
            "letters": self.letters.state_dict(),
            "vocabulary": self.vocabulary,
            "merges": self.merges,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        # A small checkpoint may leave out the encoder: then Whisper's own, already here, stays.
        self.audio.load_state_dict({**self.audio.state_dict(), **saved["audio"]})
        self.pieces.load_state_dict(saved["pieces"])
        self.letters.load_state_dict(saved["letters"])


def build_listener(run: Run, saved: dict[str, Any] | None) -> Listener:
    """Fresh from Whisper tiny.en, or as `saved` had it (the vocabulary comes from there too)."""
    table, merges = embedding_table(), run.piece_merges
    if saved is None:
        texts = [t for n in run.data.vocabulary_texts for t in run.path(n).read_text().splitlines()]
        vocabulary = piece_vocabulary(texts, merges)
    else:
        vocabulary, merges = saved["vocabulary"], int(saved.get("merges", merges))
    audio = AudioModel(load_tiny_en(), Projector(width=run.width, blocks=run.blocks))
    listener = Listener(audio, PieceHead(table, vocabulary), LetterHead(), vocabulary, merges)
    if saved is None:
        audio.start_bridge(listener.pieces.mean)
    else:
        listener.restore(saved)
    return listener


def open_sets(run: Run, listener: Listener) -> tuple[Mixture, dict[str, Mixture]]:
    """The training mixture (half of the noise clips mixed in) and the development sets."""
    data, vocabulary, merges = run.data, listener.vocabulary, listener.merges
    noise = None
    if data.noise:
        noise = Corpus([run.path(data.noise)])
        noise.keep(range(0, len(noise), 2))
    parts = []
    for name in data.train:
        chosen = data.variations.get(name, [])
        stores = [FeatureStore(feature_stem(run.path(name), v)) for v in chosen]
        speech = SpeechSet(Corpus([run.path(name)]), vocabulary, stores, noise, merges=merges)
        parts.append((speech, data.repeat.get(name, 1)))
    dev = {}
    for name, stem in data.dev.items():
        corpus = Corpus([run.path(stem)])
        speech = SpeechSet(corpus, vocabulary, check_pace=False, merges=merges)
        dev[name] = Mixture([(speech, 1)])
    return Mixture(parts), dev


def hear(audio: AudioModel, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """(features, hidden, embeddings) of a batch, encoding only what is not stored."""
    features = audio.encode(batch.sound, batch.tokens) if batch.is_mel else batch.sound
    return features, *audio.project(features, batch.tokens)


def ctc_losses(
    listener: Listener, batch: Batch, features: Tensor, hidden: Tensor, negatives: int
) -> tuple[Tensor, Tensor]:
    """(word-piece loss, letter loss); pieces are normalised over a random subset of classes."""
    targets, subset = batch.pieces, None
    if negatives < len(listener.vocabulary):
        wanted = torch.tensor([c for row in targets for c in row])
        drawn = torch.randint(1, len(listener.vocabulary) + 1, (negatives,))
        subset = torch.unique(torch.cat([drawn, wanted]))
        local = {int(c): i + 1 for i, c in enumerate(subset)}
        targets = [[local[c] for c in row] for row in targets]
    pieces = compact_ctc(listener.pieces(hidden, subset), batch.tokens, targets)
    letters = compact_ctc(listener.letters(features), batch.tokens * 4, batch.letters)
    return pieces, letters


@torch.no_grad()
def greedy_wer(listener: Listener, speech: Mixture, most: int = 200) -> dict[str, float]:
    """WER of both heads' best paths over up to `most` utterances."""
    tokenizer = load_tokenizer()
    rows = list(range(len(speech)))[:most]
    said: list[str] = []
    by_piece: list[str] = []
    by_letter: list[str] = []
    for at in range(0, len(rows), 16):
        batch = speech.batch(rows[at : at + 16])
        with torch.autocast("cpu", torch.bfloat16):
            features, hidden, _ = hear(listener.audio, batch)
            pieces, letters = listener.pieces(hidden), listener.letters(features)
        for i, steps in enumerate(batch.tokens.tolist()):
            ids = [listener.vocabulary[c - 1] for c in greedy(pieces[i], steps)]
            by_piece.append(" ".join(tokenizer.decode(ids).split()))
            text = "".join(LETTERS[c - 1] for c in greedy(letters[i], steps * 4))
            by_letter.append(" ".join(text.split()))
        said += batch.texts
    print("  said  ", said[0], "\n  piece ", by_piece[0], "\n  letter", by_letter[0], flush=True)
    return {
        "piece": round(word_error_rate(said, by_piece, 10).rate, 4),
        "letter": round(word_error_rate(said, by_letter, 10).rate, 4),
    }
