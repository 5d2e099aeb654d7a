"""Which names a model answers to.

Programs have OpenAI's names built in. What those stand for, transcription or chat about sound, is
what this server does; so they mean the one model that it has. Any other name is a mistake.
"""

from __future__ import annotations

from edge_audiokv.server.faults import ApiError

TRANSCRIBERS = (
    "gpt-transcribe",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-03-20",
    "gpt-4o-mini-transcribe-2025-12-15",
    "whisper-1",
)
# Clients that name these say themselves where an utterance ends, and do not ask for that.
COMMITTED = ("gpt-live-transcribe", "gpt-realtime-whisper")
LIVE_TRANSCRIBERS = (*TRANSCRIBERS, *COMMITTED)
LIVE_CHATTERS = (
    "gpt-realtime",
    "gpt-realtime-mini",
    "gpt-4o-realtime-preview",
    "gpt-4o-mini-realtime-preview",
)
CHATTERS = (
    "gpt-audio",
    "gpt-audio-mini",
    "gpt-4o-audio-preview",
    "gpt-4o-mini-audio-preview",
)


def check_model(asked: object, own: str, aliases: tuple[str, ...]) -> None:
    """Raises ApiError 400 without a name, 404 for one that is not here."""
    if not isinstance(asked, str) or not asked:
        raise ApiError(400, "model: name one of /v1/models.", param="model")
    if asked != own and asked not in aliases:
        raise no_model(own)


def no_model(own: str) -> ApiError:
    return ApiError(
        404, f"there is no such model here; there is {own}.", param="model", code="model_not_found"
    )
