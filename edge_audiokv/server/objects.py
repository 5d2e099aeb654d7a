"""JSON objects as clients send them: nothing that is no JSON, however deep."""

from __future__ import annotations

import json
from typing import Any


def object_of(text: bytes) -> dict[str, Any]:
    """The object in `text`. Raises ValueError that says what it is instead."""
    try:
        document = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(document, dict):
        raise ValueError("is no object")
    return document


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
