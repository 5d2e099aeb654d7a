"""What a live client may want, whatever its dialect calls it; and what the model's thread is told
of that.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import BinaryIO

from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.server.chat_request import ChatRequest

# --- on the loop ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Adjust:
    """Cut speech like this; without `endpoint` the client says where an utterance ends."""

    endpoint: EndpointConfig | None


@dataclass(frozen=True)
class Append:
    """More sound: 16-bit mono."""

    pcm: bytes
    rate_hz: int


@dataclass(frozen=True)
class Commit:
    """What came up to now is one utterance."""


@dataclass(frozen=True)
class Clear:
    """Forget the sound that is no whole utterance yet. It goes to the thread, too."""


@dataclass(frozen=True)
class Ask:
    """A question about what was heard. It goes to the thread, too."""

    request: ChatRequest
    cancelled: threading.Event = field(default_factory=threading.Event)


Wish = Adjust | Append | Commit | Clear | Ask

# --- on the model's thread --------------------------------------------------------------------


@dataclass(frozen=True)
class Follow:
    """What is open ends; speech is cut like this from now on."""

    endpoint: EndpointConfig


@dataclass(frozen=True)
class Feed:
    """More sound, of which the endpointer finds what is speech; it was there at `came_s`."""

    pcm: bytes
    rate_hz: int
    came_s: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Hear:
    """A whole utterance, which it closes."""

    file: BinaryIO
    came_s: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class EndTurn:
    """What is open ends here."""


@dataclass(frozen=True)
class Finish:
    """There is no more: what is open ends, and so does the job."""


Order = Follow | Feed | Hear | EndTurn | Clear | Ask | Finish
