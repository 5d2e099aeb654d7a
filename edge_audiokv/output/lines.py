"""Words broken into few, even lines."""

from __future__ import annotations

import math
from collections.abc import Sequence

# (space before, text) of words in a row.
Words = Sequence[tuple[str, str]]
# English words that lean on the next one: a line that ends with them reads badly.
_LEANING_WORDS = """
    a an the of to in on at by for from with and or but nor as if than that which who whose when my
    your his her its our their this these those is are was were be been am has have had not no so
    very i he she we they you mr mrs dr
"""
_LEANING = frozenset(_LEANING_WORDS.split())
# What that is worth, in squared characters of unevenness.
_LEANING_COST = 300


def leans(word: str) -> bool:
    """`word` belongs to what follows it."""
    return word.lower() in _LEANING


def least_lines(words: Words, max_chars: int) -> int:
    """Lines of at most `max_chars` that the words take; none of them is longer than a line."""
    n_lines, used = 1, 0
    for space, text in words:
        if used and used + len(space) + len(text) > max_chars:
            n_lines, used = n_lines + 1, 0
        used += (len(space) if used else 0) + len(text)
    return n_lines


def wrap(words: Words, max_chars: int, max_lines: int) -> tuple[str, ...]:
    """As few lines as hold the words, each at most `max_chars`, of lengths as even as can be; a
    line rather ends before a word that leans on the next one.

    More than `max_lines` only if the words do not fit.
    """
    n_lines = max(1, least_lines(words, max_chars))
    n = len(words)
    # best[k][end]: the least sum of squared lengths of the first `end` words in k lines.
    best = [[math.inf] * (n + 1) for _ in range(n_lines + 1)]
    came = [[0] * (n + 1) for _ in range(n_lines + 1)]
    best[0][0] = 0.0
    for k in range(1, n_lines + 1):
        for start in range(n):
            if best[k - 1][start] == math.inf:
                continue
            length = 0
            for end in range(start + 1, n + 1):
                space, text = words[end - 1]
                length += (len(space) if end > start + 1 else 0) + len(text)
                if length > max_chars and end > start + 1:
                    break
                leaning = end < n and leans(text)
                cost = best[k - 1][start] + length**2 + leaning * _LEANING_COST
                # Equally even: the shorter line stands above.
                if cost <= best[k][end]:
                    best[k][end], came[k][end] = cost, start
    lines = []
    end = n
    for k in range(n_lines, 0, -1):
        start = came[k][end]
        line = "".join(
            (space if at else "") + text for at, (space, text) in enumerate(words[start:end])
        )
        lines.append(line)
        end = start
    return tuple(reversed(lines))
