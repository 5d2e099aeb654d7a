"""Parse what people type: memory sizes, shares, durations; and print them back."""

from __future__ import annotations

import re

_SIZE = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*((?:[kmgt]i?)?b?)\s*$", re.IGNORECASE)
_FACTOR = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}
# More than 64 bits can address.
_MOST_BYTES = 2.0**63
# Nobody has fewer megabytes, nor more gigabytes, in mind.
_MOST_GB = 64
_MOST_MB = 100_000


def parse_bytes(
    text: str, *, total_bytes: int | None = None, least_bytes: int = 0, unit: str = "GB"
) -> int:
    """Bytes in `text`: "4GB", "2GiB", "1.5g", "512M", or "50%" of `total_bytes`.

    Decimal prefixes are powers of 1000, binary ones (Ki, Mi, Gi) powers of 1024. A bare number
    below `least_bytes` lacks its unit, which for a small one is `unit`.
    Raises ValueError with the accepted forms if `text` is none of them.
    """
    if text.strip().endswith("%"):
        if total_bytes is None:
            raise ValueError(f"{text!r} is a share of nothing; write a size such as 25MB")
        return int(parse_share(text) * total_bytes)
    match = _SIZE.match(text)
    if not match:
        raise ValueError(f"{text!r} is not a size; write 4GB, 2GiB, 512MB or 50%")
    number, typed = match.groups()
    size = float(number) * _FACTOR[typed.lower().removesuffix("b")]
    if not 1 <= size <= _MOST_BYTES:
        what = "zero" if size < 1 else "more than any machine has"
        raise ValueError(f"{text!r} is {what}; write a size such as 2GB")
    # With a unit it is what was meant: who needs more says how much.
    if size < least_bytes and not typed:
        meant = unit if size < _MOST_GB else "MB" if size < _MOST_MB else "KB"
        what = "1 byte" if size == 1 else f"{number} bytes"
        raise ValueError(f"{text!r} is {what}; did you mean {number}{meant}?")
    return int(size)


def parse_share(text: str) -> float:
    """Share in (0, 1] from "40%" or "0.4". Raises ValueError otherwise."""
    stripped = text.strip()
    try:
        if not stripped.isascii() or "_" in stripped:  # float() takes digits of every script
            raise ValueError
        share = float(stripped[:-1]) / 100 if stripped.endswith("%") else float(stripped)
    except ValueError:
        raise ValueError(f"{text!r} is not a share; write 40% or 0.4") from None
    if 1 < share <= 100 and not stripped.endswith("%"):
        raise ValueError(f"{text!r} means {share * 100:g} %; did you mean {share:g}%?")
    if not 0 < share <= 1:
        raise ValueError(f"{text!r} is not above 0 and at most 100 %; write a share such as 40%")
    return share


# C0 and C1 but for white space, and what turns the order of a line around.
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069]")


def without_controls(text: str) -> str:
    """`text` without characters that steer a terminal; a model's vocabulary may hold any."""
    return _CONTROLS.sub("", text)


def printable(text: str) -> str:
    """One line that neither steers a terminal nor fails to encode; names of files hold anything."""
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)


def clipped(text: str, most_chars: int) -> str:
    """`text`, or its two ends where it is longer than `most_chars`."""
    if len(text) <= most_chars:
        return text
    half = max(1, (most_chars - 5) // 2)
    return f"{text[:half]} ... {text[-half:]}"


def last_words(text: str, n_chars: int) -> str:
    """The last whole words of `text` that fit; a word that is longer than that loses its start."""
    if len(text) <= n_chars:
        return text
    tail = text[-n_chars:]
    # A word that is cut is left out, unless it is all there is.
    if not text[-n_chars - 1].isspace():
        tail = tail.partition(" ")[2] or tail
    return tail.strip()


def format_bytes(size_bytes: float) -> str:
    """Short text with a binary unit: 1536 -> '1.5 KiB'."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def format_cap(cap_bytes: int) -> str:
    """A cap as people type it, beside its binary size: 2 * 10**9 -> '2GB (1.86 GiB)'."""
    binary = format_bytes(cap_bytes)
    for unit, factor in (("GB", 10**9), ("MB", 10**6)):
        if cap_bytes and cap_bytes % factor == 0:
            return f"{cap_bytes // factor}{unit} ({binary})"
    return binary


def format_clock(time_s: float, *, decimal: str = ".") -> str:
    """Hours, minutes, seconds and milliseconds: 3661.5 -> '01:01:01.500'."""
    total_ms = max(0, round(time_s * 1000))
    hours, rest_ms = divmod(total_ms, 3_600_000)
    minutes, rest_ms = divmod(rest_ms, 60_000)
    seconds, ms = divmod(rest_ms, 1000)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{decimal}{ms:03d}"
