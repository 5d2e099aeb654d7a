"""Batches of utterances, bucketed by length: stored features, or log-mel varied at every sight."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edge_audiokv.train.augment import mask_features, mask_mel, vary
from edge_audiokv.train.corpus import SAMPLE_RATE_HZ, SAMPLES_PER_TOKEN, Audio, Corpus
from edge_audiokv.train.features import FeatureStore, whole_tokens
from edge_audiokv.train.spelling import Spelling
from edge_audiokv.train.text import plain
from edge_audiokv.train.whisper import LogMel

# Letters a second outside of this mean a wrong transcript or mostly silence.
LETTERS_PER_S = (2.5, 30.0)


@dataclass
class Batch:
    """Log-mel [B, 80, 8T] or features [B, 4T, 384], token lengths [B], texts and label classes."""

    sound: Tensor
    is_mel: bool
    tokens: Tensor
    texts: list[str]
    classes: list[list[int]]

    @property
    def seconds(self) -> float:
        return float(self.tokens.sum()) * SAMPLES_PER_TOKEN / SAMPLE_RATE_HZ


class SpeechSet:
    """One corpus with its labels; `stores` are its feature variations (empty: from samples)."""

    def __init__(
        self,
        corpus: Corpus,
        spelling: Spelling,
        stores: list[FeatureStore] | None = None,
        noise: Corpus | None = None,
        check_pace: bool = True,
    ) -> None:
        self.corpus, self.noise, self.stores = corpus, noise, stores or []
        self._mel = LogMel()
        texts = [plain(u.text) for u in corpus.utterances]
        classes = [spelling.classes(t) for t in texts]
        low, high = LETTERS_PER_S if check_pace else (0.0, 1e9)
        usable = [
            i
            for i, utterance in enumerate(corpus.utterances)
            if classes[i]
            and low < len(texts[i]) / utterance.duration_s < high
            and len(classes[i]) < 0.8 * utterance.samples / SAMPLES_PER_TOKEN
        ]
        self.rows = usable
        self.texts = [texts[i] for i in usable]
        self.classes = [classes[i] for i in usable]
        self.seconds = [corpus.utterances[i].duration_s for i in usable]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def hours(self) -> float:
        return sum(self.seconds) / 3600

    def mel(self, audio: Audio) -> Tensor:
        """Log-mel [80, 8T] of samples cut to whole tokens."""
        with torch.no_grad():
            out: Tensor = self._mel(torch.from_numpy(whole_tokens(audio))[None])[0]
        return out

    def sound(self, place: int, rng: random.Random | None) -> Tensor:
        """Features [4T, 384] if stored, else log-mel [8T, 80]; changed at random with `rng`."""
        row = self.rows[place]
        if self.stores:
            store = self.stores[0] if rng is None else rng.choice(self.stores)
            frames = torch.from_numpy(store[row].astype(np.float32))
            return frames if rng is None else mask_features(frames, rng)
        audio = self.corpus.audio(row)
        if rng is not None:
            audio = vary(audio, rng, self.noise)
        mel = self.mel(audio)
        return (mel if rng is None else mask_mel(mel, rng)).T


class Mixture:
    """Several sets seen as one, each repeated as often as the recipe says."""

    def __init__(self, sets: list[tuple[SpeechSet, int]]) -> None:
        self.sets = [s for s, _ in sets]
        self.places = [
            (k, i) for k, (s, times) in enumerate(sets) for _ in range(times) for i in range(len(s))
        ]
        self.stored = all(s.stores for s in self.sets)

    def __len__(self) -> int:
        return len(self.places)

    @property
    def hours(self) -> float:
        return sum(self.sets[k].seconds[i] for k, i in self.places) / 3600

    def plan(self, seconds: float, rng: random.Random, most: int = 128) -> list[list[int]]:
        """All places in batches of similar length with at most `seconds` of padded sound."""
        length = [self.sets[k].seconds[i] * rng.uniform(0.9, 1.1) for k, i in self.places]
        batches: list[list[int]] = []
        current: list[int] = []
        for place in sorted(range(len(self)), key=length.__getitem__):
            if current and (length[place] * (len(current) + 1) > seconds or len(current) >= most):
                batches.append(current)
                current = []
            current.append(place)
        if current:
            batches.append(current)
        rng.shuffle(batches)
        return batches

    def batch(self, chosen: list[int], rng: random.Random | None = None) -> Batch:
        """Load places; with `rng` each is varied and masked."""
        places = [self.places[c] for c in chosen]
        sounds = [self.sets[k].sound(i, rng) for k, i in places]
        step = 4 if self.stored else 8
        texts = [self.sets[k].texts[i] for k, i in places]
        return Batch(
            torch.nn.utils.rnn.pad_sequence(sounds, batch_first=True)
            if self.stored
            else torch.nn.utils.rnn.pad_sequence(sounds, batch_first=True).transpose(1, 2),
            not self.stored,
            torch.tensor([len(s) // step for s in sounds]),
            texts,
            [self.sets[k].classes[i] for k, i in places],
        )

    def stream(self, seconds: float, rng: random.Random) -> Iterator[Batch]:
        """Endless passes over the data; the next batch is loaded while the last one is used."""
        with ThreadPoolExecutor(1) as loader:
            waiting: Future[Batch] | None = None
            while True:
                for chosen in self.plan(seconds, rng):
                    job = loader.submit(self.batch, chosen, random.Random(rng.random()))
                    ready, waiting = waiting, job
                    if ready is not None:
                        yield ready.result()
