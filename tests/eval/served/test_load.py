"""What a load is judged by, and what a server is started with; no server is."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_audiokv.audio.files.file import read_all
from edge_audiokv.audio.source import SAMPLE_RATE_HZ
from edge_audiokv.audio.vad import FRAME_SAMPLES
from edge_audiokv.cli.options import settings_from
from edge_audiokv.cli.speech.serve import serve
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.errors import EdgeAudioKVError, InputError
from edge_audiokv.eval.served import load
from edge_audiokv.eval.served.client import LiveClient, Refused, Told
from edge_audiokv.eval.served.load import Differences, LoadReport, Speech, Talk
from edge_audiokv.eval.served.process import ServerProcess
from edge_audiokv.eval.wer import Utterance

GOOD = LoadReport(
    clients=8,
    sessions=2,
    speed=1.0,
    sound_s=600.0,
    wall_s=1300.0,
    served=2,
    at_once=2,
    finals=200,
    same_texts=2,
    differences=Differences(1000, 0, 0, 0),
    refusals=6,
    wrong_refusals=0,
    cap_bytes=800,
    peak_rss_bytes=800,
    alone_p50_ms=500.0,
    alone_p95_ms=1000.0,
    p50_ms=600.0,
    p95_ms=1500.0,
    late_s=0.1,
)


def test_a_report_that_is_well_has_no_faults() -> None:
    assert GOOD.faults == [] and GOOD.p95_ratio == 1.5
    assert GOOD.to_dict()["p95_ratio"] == 1.5 and len(GOOD.lines()) == 8


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"at_once": 3}, "3 were served at once"),
        ({"at_once": 1}, "1 were served at once"),
        ({"wrong_refusals": 1}, "when to come again"),
        ({"peak_rss_bytes": 801}, "cap"),
        ({"differences": Differences(1000, 0, 11, 0)}, "11 words are missing"),
    ],
)
def test_what_must_not_be(changes: dict[str, Any], fault: str) -> None:
    (told,) = replace(GOOD, **changes).faults
    assert fault in told


@pytest.mark.parametrize(
    ("status", "retry_after", "seconds"),
    [
        (429, "30", 30),
        (429, "0", 0),
        (429, "", 0),
        (429, "1.5", 0),
        (429, "soon", 0),
        (503, "5", 0),
    ],
)
def test_a_refusal_says_in_whole_seconds_when_to_come_again(
    status: int, retry_after: str, seconds: int
) -> None:
    assert load._retry_s(Refused(status, retry_after)) == seconds


def test_a_text_is_late_from_when_its_last_sound_was_sent() -> None:
    sent_s = [10.0 + number for number in range(20)]
    # Speech that ends at 1.05 s, with the padding that is kept, was sent with the eleventh block.
    assert load._latency_s(Told(0.0, 1.25, "", 23.5), sent_s) == pytest.approx(3.5)
    assert load._latency_s(Told(0.0, 99.0, "", 31.0), sent_s) == pytest.approx(2.0)


def test_how_many_were_served_at_once() -> None:
    talks = [Talk(began, ended, "", (), 0.0) for began, ended in ((0, 5), (1, 3), (3, 6), (7, 8))]
    assert load._at_once(talks) == 2


def test_there_must_be_speech() -> None:
    with pytest.raises(InputError, match="no speech"):
        Speech([], 1.0)


def test_each_says_the_same_with_pauses_of_its_own(spoken) -> None:
    utterances = [Utterance(name, spoken[name].path, "", "") for name in ("letter", "harbour")]
    speech = Speech(utterances, 20.0)
    first, again, other = speech.sound(1), speech.sound(1), speech.sound(2)
    assert np.array_equal(first, again) and not np.array_equal(first[:99_999], other[:99_999])
    for sound in (first, other):
        assert 16 < len(sound) / SAMPLE_RATE_HZ < 28
        # All that is no pause, in order; each clip begins at a whole frame of the detector.
        said = [read_all(spoken[name].path) for name in ("letter", "harbour")]
        at = 0
        for number in range(3):
            clip = said[number % 2]
            assert np.array_equal(sound[at : at + len(clip)], clip)
            at += len(clip)
            gap = np.flatnonzero(sound[at:])
            n_gap = int(gap[0]) if len(gap) else len(sound) - at
            first_loud = np.flatnonzero(said[(number + 1) % 2])[0]
            start = at + n_gap - first_loud
            assert start % FRAME_SAMPLES == 0 and 1.2 <= (start - at) / SAMPLE_RATE_HZ < 2.9
            at = int(start)


def test_a_server_has_all_settings() -> None:
    settings = EngineSettings(
        mem="1GB",
        kv_policy="snapkv",
        kv_share=0.5,
        kv_options={"window": 16},
        type_k="q8_0",
        type_v="q4_0",
        word_weight=0.5,
        branches=3,
        threads=1,
        language="en",
        hotwords=("Ljubljana", "Rust"),
    )
    options = ServerProcess(settings)._options()
    context = serve.make_context("serve", options)
    given = settings_from({**context.params})
    assert replace(given, kv_options={}) == replace(settings, kv_options={})
    assert {name: int(value) for name, value in given.kv_options.items()} == {"window": 16}


def test_a_server_that_does_not_come_up_says_why() -> None:
    with (
        pytest.raises(EdgeAudioKVError, match="nosuch"),
        ServerProcess(EngineSettings(model="nosuch")),
    ):
        pass


def test_a_client_of_nobody_is_told_so() -> None:
    with pytest.raises(EdgeAudioKVError, match="no server"):
        LiveClient("ws://127.0.0.1:9/v1/realtime").open()


def test_what_a_client_sends_is_sound_that_the_server_knows() -> None:
    """All of it, at 24 kHz, in events of the protocol."""
    sent: list[str] = []

    class Socket:
        def send(self, text: str) -> None:
            sent.append(text)

    client = LiveClient("")
    client._begin(Socket())
    tone = np.sin(np.arange(16_000, dtype=np.float32) / 10)
    for at in range(0, 16_000, 1600):
        client.send(tone[at : at + 1600], last=at == 14_400)
    assert client.sent_s == pytest.approx(1.0)
    pcm = b"".join(_sound(text) for text in sent)
    assert len(pcm) // 2 == 24_000
    assert np.abs(np.frombuffer(pcm, "<i2")).max() > 30_000


def _sound(text: str) -> bytes:
    event = json.loads(text)
    assert event["type"] == "input_audio_buffer.append"
    return base64.b64decode(event["audio"], validate=True)
