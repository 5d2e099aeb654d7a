"""pipecat's OpenAI services, as a bot uses them: python pipecat_stt.py http://HOST:PORT/v1 CLIP.wav

Run by scripts/check_clients.py. Prints a JSON line for each way: its name, and its final texts.
"""

from __future__ import annotations

import asyncio
import json
import sys
import wave

from loguru import logger
from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.worker import PipelineParams
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.openai.stt import OpenAIRealtimeSTTService, OpenAISTTService
from pipecat.tests.utils import SleepFrame, run_test

FRAME_S = 0.02
# After the clip: for a pause to be found, and for the text of it.
SILENCE_S, ANSWER_S = 2.0, 8.0


def sound(path: str, silence_s: float) -> tuple[int, list[Frame]]:
    """The rate, and the clip at the pace of speech."""
    with wave.open(path) as clip:
        rate_hz, n_bytes = clip.getframerate(), 2 * int(clip.getframerate() * FRAME_S)
        data = clip.readframes(clip.getnframes()) + bytes(int(rate_hz * silence_s) * 2)
    frames: list[Frame] = []
    for at in range(0, len(data), n_bytes):
        frames.append(InputAudioRawFrame(data[at : at + n_bytes], rate_hz, 1))
        frames.append(SleepFrame(FRAME_S))
    return rate_hz, frames


async def texts(service: FrameProcessor, path: str, *, turns: bool) -> list[str]:
    """What the service tells; with `turns` the bot says itself when somebody speaks."""
    rate_hz, frames = sound(path, 0.2 if turns else SILENCE_S)
    if turns:
        frames = [VADUserStartedSpeakingFrame(), *frames, VADUserStoppedSpeakingFrame()]
    down, up = await run_test(
        service,
        frames_to_send=[SleepFrame(1.0), *frames, SleepFrame(ANSWER_S)],
        pipeline_params=PipelineParams(audio_in_sample_rate=rate_hz),
        start_timeout=30.0,
    )
    for frame in (*down, *up):
        if isinstance(frame, ErrorFrame):
            raise RuntimeError(frame.error)
    return [frame.text for frame in down if isinstance(frame, TranscriptionFrame)]


async def main(url: str, path: str) -> None:
    live, key = f"{url.replace('http', 'ws', 1)}/realtime", "none"
    settings = OpenAIRealtimeSTTService.Settings
    ways: list[tuple[str, FrameProcessor, bool]] = [
        ("gpt-transcribe", OpenAISTTService(api_key=key, base_url=url), True),
        ("gpt-realtime-whisper, live", OpenAIRealtimeSTTService(api_key=key, base_url=live), True),
        (
            "gpt-transcribe, live",
            OpenAIRealtimeSTTService(
                api_key=key,
                base_url=live,
                settings=settings(model="gpt-transcribe"),
                turn_detection={"type": "server_vad"},
            ),
            False,
        ),
    ]
    for name, service, turns in ways:
        print(json.dumps({"way": name, "texts": await texts(service, path, turns=turns)}))


if __name__ == "__main__":
    logger.remove()
    asyncio.run(main(*sys.argv[1:]))
