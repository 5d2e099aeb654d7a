"""The library names arguments, `mem="2GB"`; who typed a flag reads `--mem 2GB`."""

from __future__ import annotations

import re
from dataclasses import replace

from edge_audiokv.events import Event, Warned

# Arguments that texts of the library name, as the options of the commands.
FLAGS = {
    "mem": "--mem",
    "kv_share": "--kv-budget",
    "kv_policy": "--kv-policy",
    "language": "--language",
    "hotwords": "--hotwords",
    "translate": "--translate",
}
_NAMED = re.compile(rf"""(?<![\w."'/-])({"|".join(FLAGS)})=(?:"([^"]*)"|(?=[\s,.;:)]|$))""")


def as_flags(text: str) -> str:
    """`text` with each `name="value"`, and each bare `name=`, as a person would type it."""
    return _NAMED.sub(
        lambda found: " ".join(filter(None, (FLAGS[found[1]], found[2]))),
        text,
    )


def worded(event: Event) -> Event:
    """`event` as a person at a command line should read it."""
    return replace(event, message=as_flags(event.message)) if isinstance(event, Warned) else event
