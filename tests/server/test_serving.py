"""`edge-audiokv serve` with the real model and real clients; one process for all tests but two."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import openai
import pytest
import soundfile
import soxr
import srt
import webvtt
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import wav_to_chunks
from wyoming.client import AsyncTcpClient
from zeroconf import ServiceBrowser, Zeroconf

from edge_audiokv.server.wyoming.announce import KIND
from edge_audiokv.units import parse_bytes
from tests.server.served import MEM, QUEUE, Served

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("local_model"),
    pytest.mark.skipif(os.name != "posix", reason="signals and Unix sockets"),
]


STUDY = f"the study {os.getpid()}"


class Seen:
    """What a browser is told, as Home Assistant's is."""

    def __init__(self) -> None:
        self.told: queue.Queue[tuple[str, str]] = queue.Queue()

    def add_service(self, zc: Zeroconf, kind: str, name: str) -> None:
        self.told.put(("added", name))

    def remove_service(self, zc: Zeroconf, kind: str, name: str) -> None:
        self.told.put(("removed", name))

    def update_service(self, zc: Zeroconf, kind: str, name: str) -> None: ...

    def wait_for(self, what: str, name: str) -> None:
        """Others may be announced here, too."""
        deadline = time.monotonic() + 10
        while self.told.get(timeout=max(0.0, deadline - time.monotonic())) != (what, name):
            pass


@pytest.fixture(scope="module")
def house() -> Iterator[tuple[Zeroconf, Seen]]:
    """What browses for Wyoming, from before the server starts until after its end."""
    browsing, seen = Zeroconf(interfaces=["127.0.0.1"]), Seen()
    ServiceBrowser(browsing, KIND, listener=seen)
    yield browsing, seen
    browsing.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory, house) -> Iterator[Served]:
    running = Served(
        tmp_path_factory.mktemp("serve"), "--wyoming", "tcp://127.0.0.1:0", "--zeroconf", STUDY
    )
    running.wait()
    yield running
    if running.process.poll() is None:
        running.end(signal.SIGKILL)


@pytest.fixture(scope="module")
def client(served) -> Iterator[openai.OpenAI]:
    with served.openai() as made:
        yield made


def close_to(text: str, reference: str) -> bool:
    """Are at least three words in four there? The small model errs now and then."""
    said, meant = (set(re.findall(r"[a-z']+", each.lower())) for each in (text, reference))
    return len(said & meant) >= 0.75 * len(meant)


def test_it_says_that_it_is_ready(served, client) -> None:
    assert served.get("/health").json() == {"status": "ok"}
    assert served.get("/ready").json() == {"status": "ok"}
    assert [model.id for model in client.models.list()] == ["smollm2-audio"]
    assert client.models.retrieve("smollm2-audio").owned_by == "edge-audiokv"


def test_every_format_through_openais_client(client, spoken) -> None:
    clip = spoken["letter"]

    def transcribe(**options: Any) -> Any:
        with clip.path.open("rb") as file:
            return client.audio.transcriptions.create(file=file, model="whisper-1", **options)

    plain = transcribe()
    assert close_to(plain.text, clip.text)
    assert transcribe(response_format="text") == plain.text + "\n"
    verbose = transcribe(
        response_format="verbose_json", timestamp_granularities=["word", "segment"], language="en"
    )
    assert verbose.text == plain.text
    assert verbose.duration == pytest.approx(clip.duration_s, abs=0.1)
    assert [word.word for word in verbose.words] == plain.text.split()
    times = [time for word in verbose.words for time in (word.start, word.end)]
    assert times == sorted(times) and times[-1] <= clip.duration_s
    assert " ".join(segment.text for segment in verbose.segments) == plain.text
    cues = list(srt.parse(transcribe(response_format="srt")))
    assert " ".join(" ".join(cue.content.split()) for cue in cues) == plain.text
    captions = webvtt.from_string(transcribe(response_format="vtt"))
    assert " ".join(" ".join(caption.text.split()) for caption in captions) == plain.text


def test_a_stream_of_a_transcription_through_openais_client(client, spoken) -> None:
    clip = spoken["two_sentences"]
    events = list(
        client.audio.transcriptions.create(
            file=clip.path.read_bytes(), model="gpt-4o-mini-transcribe", stream=True
        )
    )
    *deltas, done = events
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert len(deltas) == 2
    assert done.type == "transcript.text.done"
    assert done.text == "".join(delta.delta for delta in deltas)
    assert close_to(done.text, clip.text)


def asked(path: Path, question: str) -> list[Any]:
    data = base64.b64encode(path.read_bytes()).decode()
    sound = {"type": "input_audio", "input_audio": {"data": data, "format": "flac"}}
    return [{"role": "user", "content": [sound, {"type": "text", "text": question}]}]


def test_a_chat_about_a_clip_whole_and_streamed(client, spoken) -> None:
    messages = asked(spoken["garden"].path, "What did she find?")
    whole = client.chat.completions.create(model="smollm2-audio", messages=messages)
    text = whole.choices[0].message.content
    assert text and "garden" in text
    assert whole.usage.prompt_tokens > 50 and whole.usage.completion_tokens > 2
    chunks = client.chat.completions.create(
        model="gpt-4o-audio-preview",
        messages=messages,
        stream=True,
        stream_options={"include_usage": True},
    )
    grown, usage = "", None
    for chunk in chunks:
        grown += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        usage = chunk.usage or usage
    assert grown == text
    assert usage == whole.usage


def test_nothing_of_a_request_is_left_for_the_next(client, spoken, tmp_path) -> None:
    """Silence, asked about right after a clip, has nothing to tell of that clip."""
    client.chat.completions.create(
        model="smollm2-audio", messages=asked(spoken["garden"].path, "What did she find?")
    )
    path = tmp_path / "silence.flac"
    soundfile.write(str(path), np.zeros(32_000, np.float32), 16_000)
    answer = client.chat.completions.create(
        model="smollm2-audio", messages=asked(path, "What did she find?")
    )
    assert answer.choices[0].message.content == "No words were heard."


def test_refusals_are_the_clients_own_errors(client, spoken) -> None:
    clip = spoken["letter"].path.read_bytes()
    with pytest.raises(openai.BadRequestError, match="prompt"):
        client.audio.transcriptions.create(file=clip, model="whisper-1", prompt="Dear")
    with pytest.raises(openai.BadRequestError, match="does not know German"):
        client.audio.transcriptions.create(file=clip, model="whisper-1", language="de")
    with pytest.raises(openai.BadRequestError, match="not audio"):
        client.audio.transcriptions.create(file=b"not sound at all", model="whisper-1")
    with pytest.raises(openai.NotFoundError):
        client.audio.transcriptions.create(file=clip, model="whisper-9")
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.chat.completions.create(model="smollm2-audio", messages=[], temperature=0.5)
    cut = cast(Any, clip[: len(clip) // 2])
    told = client.audio.transcriptions.create(file=cut, model="whisper-1")
    assert "cut short" in told.model_extra["warnings"][0]


def test_two_clients_at_once_each_get_their_own(served, spoken) -> None:
    texts: dict[str, str] = {}

    def transcribe(name: str) -> None:
        with served.openai() as own:
            told = own.audio.transcriptions.create(
                file=spoken[name].path.read_bytes(), model="whisper-1"
            )
            texts[name] = told.text

    threads = [threading.Thread(target=transcribe, args=(name,)) for name in ("letter", "harbour")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(close_to(texts[name], spoken[name].text) for name in ("letter", "harbour"))


def test_busy_is_said_to_the_one_more_and_patience_is_rewarded(served, spoken) -> None:
    clip = spoken["letter"].path.read_bytes()
    head = (
        f"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: 127.0.0.1:{served.port}\r\n"
        "content-type: multipart/form-data; boundary=b\r\ncontent-length: 10000\r\n\r\n--b\r\n"
    ).encode()
    address = ("127.0.0.1", served.port)
    halves = [socket.create_connection(address) for _ in range(QUEUE + 1)]
    try:
        assert served.metric("queue_places_taken") == 0
        for half in halves:
            half.sendall(head)
        deadline = time.monotonic() + 10
        while served.metric("queue_places_taken") < QUEUE + 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with served.openai() as own, pytest.raises(openai.RateLimitError) as busy:
            own.audio.transcriptions.create(file=clip, model="whisper-1")
        assert int(busy.value.response.headers["retry-after"]) >= 1
        # The client comes again by itself; meanwhile the others have left.
        threading.Timer(0.5, lambda: [half.close() for half in halves]).start()
        with served.openai(max_retries=4) as own:
            assert own.audio.transcriptions.create(file=clip, model="whisper-1").text
    finally:
        for half in halves:
            half.close()


def test_a_client_that_leaves_ends_its_work(served, spoken, tmp_path) -> None:
    long = np.concatenate([clip.samples for clip in spoken.values()] * 8)
    path = tmp_path / "long.flac"
    soundfile.write(str(path), long, 16_000)
    before_s = served.metric("audio_seconds_total")
    jobs = served.metric("jobs_total")
    with served.openai() as own:
        stream = own.audio.transcriptions.create(
            file=path.read_bytes(), model="whisper-1", stream=True
        )
        next(iter(stream))
        stream.close()
    deadline = time.monotonic() + 30
    while served.metric("jobs_total") == jobs:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert served.metric("audio_seconds_total") - before_s < len(long) / 16_000 / 2


def readme_block(language: str, containing: str) -> str:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"```{language}\n(.*?)```", text, flags=re.S)
    (found,) = [block for block in blocks if containing in block]
    return cast(str, found)


def test_what_the_readme_says_works_as_pasted(served) -> None:
    start, *curls = readme_block("sh", "edge-audiokv serve --mem 1GB &").splitlines()
    assert start == "edge-audiokv serve --mem 1GB &"
    python = readme_block("python", "from openai import OpenAI")
    live = readme_block("python", "from openai import AsyncOpenAI")
    said = []
    pythons = [[sys.executable, "-c", block] for block in (live, python)]
    for command in (*[["sh", "-c", curl] for curl in curls], *pythons):
        command[-1] = command[-1].replace("127.0.0.1:8080", f"127.0.0.1:{served.port}")
        if command[0] == "sh" and shutil.which("curl") is None:
            continue
        ran = subprocess.run(
            command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, ran.stderr
        said.append(ran.stdout)
    for printed in said[-2:]:
        transcribed, answered = printed.splitlines()
        assert "garden" in transcribed and "garden" in answered
    if len(said) > 2:
        assert "letter" in json.loads(said[0])["text"]
        assert "garden" in " ".join(cue.content for cue in srt.parse(said[1]))


def test_the_unix_socket_answers_as_well(served) -> None:
    transport = httpx.HTTPTransport(uds=str(served.uds), trust_env=False)
    with httpx.Client(transport=transport, base_url="http://edge-audiokv") as on_socket:
        assert on_socket.get("/v1/models").json()["data"][0]["id"] == "smollm2-audio"
    assert served.uds.stat().st_mode & 0o777 == 0o600


def test_wyoming_is_found_and_writes_down_the_same(served, house, client, spoken, tmp_path) -> None:
    """As Home Assistant finds it, on this machine."""
    browsing, seen = house
    seen.wait_for("added", f"{STUDY}.{KIND}")
    found = browsing.get_service_info(KIND, f"{STUDY}.{KIND}", timeout=10_000)
    assert found is not None and found.port == served.wyoming_port
    (host,) = found.parsed_addresses()
    assert host == "127.0.0.1"
    clip = spoken["letter"]
    with clip.path.open("rb") as file:
        text = client.audio.transcriptions.create(file=file, model="whisper-1").text
    samples, rate = soundfile.read(clip.path, dtype="int16")
    soundfile.write(tmp_path / "clip.wav", samples, rate)

    async def satellite() -> str:
        async with AsyncTcpClient(host, found.port) as door:
            await door.write_event(Transcribe(language="en").event())
            with wave.open(str(tmp_path / "clip.wav"), "rb") as opened:
                for chunk in wav_to_chunks(opened, 1024, start_event=True, stop_event=True):
                    await door.write_event(chunk.event())
            while (event := await asyncio.wait_for(door.read_event(), 60)) is not None:
                if Transcript.is_type(event.type):
                    return Transcript.from_event(event).text
        raise AssertionError("no transcript came")

    assert asyncio.run(satellite()) == text


def test_the_event_stream_is_there_and_no_microphone_is(served, call) -> None:
    ran = call("client", "--socket", served.events, "status")
    assert ran.code == 0 and ran.out.startswith("idle\nsmollm2-audio, ")
    # With an extra that is missing or without such a device: each has its own code.
    ran = call("client", "--socket", served.events, "listen", "-d", "no such device")
    assert ran.code in (7, 11) and ran.complaint
    assert served.metric("queue_places_taken") == 0


def pcm_24(path: Path) -> bytes:
    samples, rate = soundfile.read(path)
    return bytes((soxr.resample(samples, rate, 24_000) * 32767).astype("<i2"))


def test_a_live_client_is_told_as_it_speaks_and_answered(served, spoken) -> None:
    """Sound at the pace of time; what is certain is told while it comes."""
    clip, found = spoken["garden"], []
    pcm = pcm_24(clip.path)

    async def say(live: Any) -> None:
        started = time.monotonic()
        for at in range(0, len(pcm), 4800):
            audio = base64.b64encode(pcm[at : at + 4800]).decode()
            await live.input_audio_buffer.append(audio=audio)
            await asyncio.sleep(max(0.0, started + (at + 4800) / 48_000 - time.monotonic()))

    async def run() -> str:
        client = openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none")
        async with (
            asyncio.timeout(90),
            client,
            client.realtime.connect(extra_query={"intent": "transcription"}) as live,
        ):
            saying = asyncio.create_task(say(live))
            async for event in live:
                found.append((event, saying.done()))
                if event.type.endswith(".completed") and saying.done():
                    break
            await live.response.create(response={"instructions": "What did she find?"})
            async for event in live:
                if event.type == "response.done":
                    return str(event.response.output[0].content[0].text)
        raise AssertionError("no answer came")

    answer = asyncio.run(run())
    texts = [event.transcript for event, _ in found if event.type.endswith(".completed")]
    assert close_to(" ".join(texts), clip.text)
    # Some of it was told while it was being said.
    assert any(event.type.endswith(".delta") and not over for event, over in found)
    assert "garden" in answer


def test_memory_stays_under_the_cap_and_the_numbers_are_the_kernels(served) -> None:
    assert served.metric("memory_cap_bytes") == parse_bytes(MEM)
    assert served.metric("kv_bytes") > 10 << 20
    assert served.metric("ready") == 1
    assert served.peak_bytes() <= parse_bytes(MEM)


def test_the_end_waits_for_who_is_being_answered(served, house, spoken) -> None:
    """Last of those that share the process."""
    found: list[str] = []
    clip = spoken["letter"].path.read_bytes()

    def transcribe() -> None:
        with served.openai() as own:
            found.append(own.audio.transcriptions.create(file=clip, model="whisper-1").text)

    thread = threading.Thread(target=transcribe)
    thread.start()
    deadline = time.monotonic() + 10
    while not served.metric("queue_places_taken"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    code, out, err = served.end(signal.SIGTERM)
    thread.join(30)
    assert close_to(found[0], spoken["letter"].text)
    assert (code, out) == (143, "")
    assert "Traceback" not in err and spoken["letter"].text not in err
    # What a small cap costs is told here, too.
    assert "leaves no room for the model's reader" in err
    assert not served.uds.exists() and not served.events.exists()
    house[1].wait_for("removed", f"{STUDY}.{KIND}")


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_while_it_loads_ends_it(tmp_path, number, expected) -> None:
    running = Served(tmp_path)
    deadline = time.monotonic() + 30
    while not running.uds.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    code, out, err = running.end(number)
    told = "broken off while the model was loading: nothing was served."
    assert (code, out, err.strip()) == (expected, "", told)
    assert not running.uds.exists()
