"""Options that several policies have: their words and their range, said once.

Each function makes a field for a default; `more` are words that only this policy adds.
"""

from __future__ import annotations

from edge_audiokv.kv.option import option


def n_sinks(default: int) -> int:
    return option(default, "First rows of the session, never dropped.")


def window(default: int, more: str = "") -> int:
    return option(default, _joined("The newest rows, always kept.", more))


def recent_share(default: float, more: str = "") -> float:
    words = "Share of a head's budget for its newest rows; the others compete by attention."
    return option(default, _joined(words, more), most=1)


def text_share(default: float, more: str = "") -> float:
    words = "Most of a head's budget that prompts and questions may take."
    return option(default, _joined(words, more), most=1)


def floor_share(default: float, more: str) -> float:
    words = "Share of the mean budget that every head keeps."
    return option(default, _joined(words, more), most=1)


def kernel(default: int) -> int:
    return option(
        default,
        "Rows that share one score with their neighbours. More keeps longer stretches together; "
        "1 keeps single rows.",
        least=1,
        most=1001,
    )


def pooling(default: str) -> str:
    return option(
        default,
        "How neighbours share it: the mean, or the highest score.",
        choices=("mean", "max"),
    )


def gamma(default: float) -> float:
    return option(
        default,
        "Share of a score's energy that smoothing keeps. Less smooths more, and keeps longer "
        "stretches.",
        most=1,
    )


def alpha(default: float) -> float:
    return option(
        default, "How much the smoothed score counts beside the raw one; 0 does not smooth.", most=1
    )


def table(default: str) -> str:
    return option(default, "The table of the head profile that ranks heads: speech, sound or loss.")


def threshold(default: float) -> float:
    return option(
        default,
        "Least cosine of two keys for a dropped row to be merged into its neighbour; 1 merges "
        "next to nothing.",
        most=1,
    )


def _joined(words: str, more: str) -> str:
    return f"{words} {more}" if more else words
