"""Made-up sounds of an encoder that names words."""

from __future__ import annotations

import numpy as np

from edge_audiokv.encoder.sound import Sound

VOCABULARY = ("<none>", " rich", "mond", " is", " far", " russia", " a", "a", "b", " b", " no")
K = 3


def sound(*rows: dict[str, float]) -> Sound:
    """Belief by piece, row for row; at most three a row."""
    words = np.zeros((len(rows), K), np.int32)
    beliefs = np.zeros((len(rows), K), np.float32)
    for at, row in enumerate(rows):
        for rank, (piece, belief) in enumerate(row.items()):
            words[at, rank], beliefs[at, rank] = VOCABULARY.index(piece), belief
    return Sound(np.zeros((len(rows), 4), np.float32), words, beliefs)
