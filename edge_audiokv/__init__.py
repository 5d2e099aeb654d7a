"""On-device audio language models that listen for hours in a fixed amount of RAM.

    import edge_audiokv

    with edge_audiokv.Session(mem="1GB", context="rolling") as session:
        for event in session.listen():
            if isinstance(event, edge_audiokv.events.Final):
                print(event.text)

    with edge_audiokv.Transcriber(mem="1GB") as transcriber:
        for final in transcriber.transcribe("talk.flac"):
            print(final.text)

Names are imported when they are first used: `import edge_audiokv` alone loads next to nothing.
"""

from __future__ import annotations

import os
from importlib import import_module

from edge_audiokv.version import __version__

# As in typing, which takes as long to import as all else here: the command can end quietly on a
# signal only from where it starts.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from edge_audiokv import errors, events
    from edge_audiokv.audio.endpoint import EndpointConfig
    from edge_audiokv.audio.files.file import FileSource
    from edge_audiokv.audio.live.microphone import MicrophoneSource
    from edge_audiokv.audio.source import AudioSource
    from edge_audiokv.engine.session import Session
    from edge_audiokv.engine.session_settings import SessionSettings
    from edge_audiokv.engine.settings import EngineSettings
    from edge_audiokv.engine.transcriber import Transcriber

# Official onnxruntime builds (from 1.29) report every model load to their maker, under a lasting
# device id. What listens in a room tells nobody; who wants that on sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "AudioSource",
    "EndpointConfig",
    "EngineSettings",
    "FileSource",
    "MicrophoneSource",
    "Session",
    "SessionSettings",
    "Transcriber",
    "__version__",
    "errors",
    "events",
]

_HOMES = {
    "AudioSource": "audio.source",
    "EndpointConfig": "audio.endpoint",
    "EngineSettings": "engine.settings",
    "FileSource": "audio.files.file",
    "MicrophoneSource": "audio.live.microphone",
    "Session": "engine.session",
    "SessionSettings": "engine.session_settings",
    "Transcriber": "engine.transcriber",
    "errors": "errors",
    "events": "events",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOMES[name]}")
    found = module if name == _HOMES[name] else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
