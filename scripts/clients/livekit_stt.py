"""LiveKit's OpenAI plug-in, as an agent uses it: python livekit_stt.py http://HOST:PORT/v1 CLIP.wav

Run by scripts/check_clients.py. Prints a JSON line for each way: its name, and its final texts.
"""

from __future__ import annotations

import asyncio
import json
import sys
import wave
from collections.abc import Iterator
from typing import Any

from livekit import rtc
from livekit.agents import stt, utils
from livekit.plugins import openai

FRAME_S = 0.05
# After the clip, so that whoever looks for a pause finds one.
SILENCE_S = 2.0
WITHIN_S = 60.0
# What agents name: a model whose turns the server finds, and one whose turns the client commits.
STREAMED = ("gpt-4o-mini-transcribe", "gpt-live-transcribe")
WHOLE = ("whisper-1", "gpt-4o-transcribe")


def frames(path: str, silence_s: float = 0.0) -> Iterator[rtc.AudioFrame]:
    with wave.open(path) as clip:
        rate_hz, n_samples = clip.getframerate(), int(clip.getframerate() * FRAME_S)
        data = clip.readframes(clip.getnframes()) + bytes(int(rate_hz * silence_s) * 2)
    for at in range(0, len(data), 2 * n_samples):
        piece = data[at : at + 2 * n_samples]
        yield rtc.AudioFrame(piece, rate_hz, 1, len(piece) // 2)


async def whole(made: openai.STT, path: str) -> list[str]:
    event = await made.recognize(list(frames(path)))
    return [event.alternatives[0].text]


async def streamed(made: openai.STT, path: str) -> list[str]:
    """At the pace of speech, then silence until the end of speech and its text were told."""
    stream, events = made.stream(), []
    start, end, final = (
        stt.SpeechEventType.START_OF_SPEECH,
        stt.SpeechEventType.END_OF_SPEECH,
        stt.SpeechEventType.FINAL_TRANSCRIPT,
    )

    async def listen() -> None:
        async for event in stream:
            events.append(event)

    async def push(frame: rtc.AudioFrame) -> None:
        stream.push_frame(frame)
        await asyncio.sleep(FRAME_S)
        if listening.done():
            listening.result()

    listening = asyncio.create_task(listen())
    for frame in frames(path, SILENCE_S):
        await push(frame)
    while {start, end, final} - {event.type for event in events}:
        await push(frame)
    await stream.aclose()
    listening.cancel()
    return [event.alternatives[0].text for event in events if event.type is final]


async def main(url: str, path: str) -> None:
    def make(model: str, **options: Any) -> openai.STT:
        return openai.STT(base_url=url, api_key="none", model=model, **options)

    async with utils.http_context.open():
        for model in WHOLE:
            async with asyncio.timeout(WITHIN_S):
                print(json.dumps({"way": model, "texts": await whole(make(model), path)}))
        for model in STREAMED:
            made = make(model, use_realtime=True)
            async with asyncio.timeout(WITHIN_S):
                texts = await streamed(made, path)
                await made.aclose()
            print(json.dumps({"way": f"{model}, live", "texts": texts}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
