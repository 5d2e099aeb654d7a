"""Texts that nobody meant to be read, for the fuzzers: typed, stored, or answered by a server."""

from __future__ import annotations

import random
import re
import string
from typing import Any

BODY = bytes(range(256)) * 4
NUMBERS = (
    *("0", "-0", "1", "-1", "1e400", "-1e400", "1e-300", "nan", "inf", "0x10", "1_000", "+5"),
    *("9" * 30, "9" * 5000, "0." + "0" * 400 + "1", "\u0663", "\uff14", "\u00bd", "\u00b2", "1e3"),
    *("", " ", "--5", "4294967296", "18446744073709551616", "1e15", "0.5", "2"),
)
UNITS = ("", "B", "GB", "iB", "i", "%", "%%", "KiB", "gIb", "\uff27\uff22", "PB", "e", " GiB", "\n")
TEXTS = (
    *("\0", "\x1b[31m", "\n", "\r\nX: y", "\udcff", "\ud800", "..", "../..", "/", "/dev/zero", "."),
    *("C:\\x", "a" * 300, "b" * 70_000, "\u202e", "{audio}", "{question}", "%s%n", "$(id)", ""),
    *("-r/x", "--log=/x", "~nobody-here/x", "[", "{", '"', "'", "\\", "<|im_end|>", "\U0001f600"),
    *("https://[::1", "https://a..b/x", "https://h\u00f6st/x", "http://127.0.0.1:99999/x", "//"),
    *("https://h:0/x", "https://u:p@h/x", "https://[fe80::1%25e]/x", "file:///etc/passwd"),
    *("https://h:\u0663/x", "ftp://h/x", "https://h/\u202e", "HTTPS://H/x", "https://%00/"),
    *("~", "https:", "data:,x"),
)  # fmt: skip
VALUES = (
    *("true", "[]", "{}", "[1, [2]]", "1979-05-27", "07:32:00", '""', "3", "-3", "1e400", "nan"),
    *("inf", "1e-300", "9223372036854775808", "0.1", "1e15", '"' + "x" * 2000 + '"', "[" * 300),
    *("9" * 5000, '"\\u0000"', '"\\u001b[31m"', '"../x"', '"/dev/zero"', "'", "1" * 17),
)
FLOODS = (
    (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 4096),
    (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    (b"", b"y"),
    (b"HTTP/1.1 200 OK\r\n\r\n", b"y" * 65536),
    (b"HTTP/1.1 200 OK\r\n\r\n", b"y"),
    (b"HTTP/1.1 404 No\r\n\r\n", b"y" * 65536),
    (b"HTTP/1.1 302 Found\r\nLocation: URL\r\n\r\n", b"y" * 65536),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\ny\r\n"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0" * 4096),
)


def hostile(draw: random.Random) -> str:
    """A text that nobody meant to be read."""
    match draw.randrange(6):
        case 0 | 1:
            return draw.choice(NUMBERS) + draw.choice(UNITS)
        case 2:
            return draw.choice(NUMBERS)
        case 3:
            return draw.choice(TEXTS)
        case 4:
            return draw.choice(TEXTS) + draw.choice(TEXTS)
        case _:
            letters = string.printable + "\u0663\uff14\u00e9\u202e\U0001f600\x00\x1b"
            return "".join(draw.choices(letters, k=draw.randrange(1, 30)))


def typed(draw: random.Random) -> str:
    """The same as far as the system lets it be typed: no NUL, no half of a surrogate pair."""
    return re.sub("[\0\ud800-\udbff]", "", hostile(draw))[:60_000]


def damaged(draw: random.Random, data: bytes) -> bytes:
    """`data` with one to three changes."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3))):
        at = draw.randrange(max(1, len(changed)))
        match draw.randrange(6):
            case 0:
                changed[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                del changed[at:]
            case 2:
                del changed[at : at + draw.choice((1, 2, 20, 200))]
            case 3:
                changed[at:at] = hostile(draw).encode("utf-8", "surrogatepass")
            case 4:
                end = min(len(changed), at + draw.randrange(1, 200))
                changed[at:at] = changed[at:end]
            case _:
                # A number that stands there becomes another one.
                found = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(changed)))
                if found:
                    one = draw.choice(found)
                    changed[one.start() : one.end()] = draw.choice(NUMBERS).encode()
    return bytes(changed)


def quoted(text: str) -> str:
    """`text` in TOML's quotes, most of the time rightly."""
    escaped = "".join(
        char if char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}" for char in text
    )
    return f'"{escaped}"'


def json_value(draw: random.Random) -> Any:
    return draw.choice(
        (
            *(None, True, 0, -1, 10**400, 1e300, -1e-300, float("nan"), float("inf"), "", "\ud800"),
            *("a\0b", "../../x", "/dev/zero", [], {}, [[]], [[1, 2], [3]], {"a": {"b": [1]}}),
            *(
                [[1e40] * 3] * 4,
                [["1"] * 3] * 4,
                [[True] * 3] * 4,
                [[None] * 3] * 4,
                [[-1] * 3] * 4,
            ),
            *("x" * 5000, [{"text": 3, "start_s": "a", "end_s": None}], [0] * 1000, 2**63, 1.5),
            *([{"text": "a", "start_s": 1e308, "end_s": -1e308}], "\x1b[31m", "\u0663", "\n"),
        )
    )


def answer(draw: random.Random, url: str) -> bytes:
    """A whole answer, some of it wrong."""
    status = draw.choice(("200", "200", "206", "302", "301", "307", "404", "416", "500", "100"))
    if draw.random() < 0.1:
        status = typed(draw)
    length = draw.choice((str(len(BODY)), str(len(BODY)), "", hostile(draw)))
    place = draw.choice((f"bytes 0-{len(BODY) - 1}/{len(BODY)}", hostile(draw)))
    headers = [
        ("Content-Length", length),
        ("Content-Range", place),
        ("Location", draw.choice((url, hostile(draw), url + hostile(draw)))),
        ("Transfer-Encoding", draw.choice(("", "", "", "chunked", hostile(draw)))),
        ("Content-Encoding", draw.choice(("", "gzip"))),
        (draw.choice(("X", "Retry-After", "Set-Cookie", hostile(draw))), hostile(draw)),
    ]
    draw.shuffle(headers)
    lines = [f"HTTP/1.{draw.choice('0119')} {status} {draw.choice(('OK', '', hostile(draw)))}"]
    lines += [f"{name}: {value}" for name, value in headers if value and draw.random() < 0.7]
    data = ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogatepass") + BODY
    return damaged(draw, data) if draw.random() < 0.3 else data
