"""`edge-audiokv transcribe` on real speech with the real default model."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import soundfile
import soxr

from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.engine.transcriber import Transcriber
from edge_audiokv.eval.wer import Utterance, evaluate, hear_with, normalise
from edge_audiokv.kv.policy import policies

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("local_model")]

# Measured with the first checkpoint: 3 of 55 words wrong. A better model may only lower it.
WORST_WER = 0.15
CUE = r"\d\d:\d\d:\d\d[.,]\d{3} --> \d\d:\d\d:\d\d[.,]\d{3}"
MODEL = ("smollm2-audio", "q8_0", "en")


def words_of(text: str) -> set[str]:
    return set(normalise(text).split())


def test_the_text_is_what_is_said(transcriber, spoken) -> None:
    clips = [Utterance(name, clip.path, clip.text, "") for name, clip in spoken.items()]
    report = evaluate("clips", clips, hear_with(transcriber))
    heard = [(score.reference, score.hypothesis) for score in report.scores]
    assert report.wer <= WORST_WER, heard


def parse_json(out: str) -> list[tuple[float, float, str]]:
    document = json.loads(out)
    assert document["complete"] is True
    assert (document["model"], document["quantisation"], document["language"]) == MODEL
    assert document["file"].endswith("garden.flac")
    assert abs(document["duration_s"] - 4.712) < 0.001
    assert document["text"] == " ".join(item["text"] for item in document["segments"])
    return [(item["start_s"], item["end_s"], item["text"]) for item in document["segments"]]


def parse_jsonl(out: str) -> list[tuple[float, float, str]]:
    items = [json.loads(line) for line in out.splitlines()]
    for item in items:
        assert (item["model"], item["quantisation"], item["language"]) == MODEL
    return [(item["start_s"], item["end_s"], item["text"]) for item in items]


def seconds(clock: str) -> float:
    hours, minutes, rest = clock.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def parse_srt(out: str) -> list[tuple[float, float, str]]:
    cues = []
    for number, block in enumerate(out.strip().split("\n\n"), 1):
        index, times, *lines = block.split("\n")
        assert index == str(number) and re.fullmatch(CUE, times) and "." not in times
        start, end = times.split(" --> ")
        cues.append((seconds(start), seconds(end), " ".join(lines)))
    return cues


def parse_vtt(out: str) -> list[tuple[float, float, str]]:
    head, *blocks = out.strip().split("\n\n")
    assert head == "WEBVTT"
    cues = []
    for block in blocks:
        times, *lines = block.split("\n")
        assert re.fullmatch(CUE, times) and "," not in times
        start, end = times.split(" --> ")
        cues.append((seconds(start), seconds(end), " ".join(lines)))
    return cues


@pytest.mark.parametrize(
    ("name", "parse"),
    [("json", parse_json), ("jsonl", parse_jsonl), ("srt", parse_srt), ("vtt", parse_vtt)],
)
def test_every_format_is_valid_and_alone_on_stdout(call, spoken, tmp_path, name, parse) -> None:
    clip = spoken["garden"]
    ran = call("transcribe", clip.path, "--format", name)
    assert (ran.code, ran.err) == (0, "")
    ((start_s, end_s, text),) = parse(ran.out)
    assert 0 <= start_s < end_s <= clip.duration_s + 0.01
    assert len(words_of(text) & words_of(clip.text)) >= 8
    # A file holds the very same bytes, and nothing else is left in its folder.
    target = tmp_path / "result"
    written = call("transcribe", clip.path, "--format", name, "-o", target)
    assert (written.code, written.out, written.err) == (0, "", "")
    assert target.read_text(encoding="utf-8") == ran.out
    assert list(tmp_path.iterdir()) == [target]


def test_plain_text_and_quiet(call, spoken) -> None:
    clip = spoken["harbour"]
    ran = call("transcribe", clip.path, "-q")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count("\n") == 1
    assert len(words_of(ran.out) & words_of(clip.text)) >= 8


def test_several_files_are_one_timeline_with_ids_of_its_own(call, spoken) -> None:
    clips = [spoken["harbour"], spoken["two_sentences"], spoken["letter"]]
    ran = call("transcribe", *(clip.path for clip in clips), "--format", "jsonl")
    assert ran.code == 0
    items = [json.loads(line) for line in ran.out.splitlines()]
    assert [item["id"] for item in items] == list(range(len(items)))
    times = [time_s for item in items for time_s in (item["start_s"], item["end_s"])]
    assert times == sorted(times)
    offset_s = 0.0
    for clip in clips:
        here = [item for item in items if offset_s <= item["start_s"] < offset_s + clip.duration_s]
        heard = words_of(" ".join(item["text"] for item in here))
        assert len(heard & words_of(clip.text)) >= len(words_of(clip.text)) // 2, (clip, items)
        offset_s += clip.duration_s


def test_of_several_files_a_warning_says_which_it_is_about(call, spoken) -> None:
    letter = spoken["letter"].path
    mandarin = letter.parent / "languages" / "mandarin.ogg"
    ran = call("transcribe", letter, mandarin)
    warnings = [line for line in ran.err.splitlines() if line.startswith("warning: ")]
    assert warnings and all(line.startswith(f"warning: {mandarin}: ") for line in warnings)


@pytest.mark.parametrize(
    ("name", "rate_hz", "channels"),
    [("8 kHz, telephone.wav", 8000, 1), ("Größe 東京 ☕.flac", 48000, 2)],
)
def test_rates_channels_and_names(call, spoken, tmp_path, name, rate_hz, channels) -> None:
    clip = spoken["letter"]
    samples = soxr.resample(clip.samples, 16000, rate_hz)
    # Speech in one ear only, as a clip-on microphone records it.
    frames = np.stack([samples] + [np.zeros_like(samples)] * (channels - 1), axis=1)
    path = tmp_path / name
    soundfile.write(str(path), frames, rate_hz)
    ran = call("transcribe", path)
    assert (ran.code, ran.err) == (0, "")
    expected = words_of(clip.text)
    assert len(words_of(ran.out) & expected) >= len(expected) // 2, ran.out


def test_a_long_recording_keeps_its_times(transcriber, spoken, tmp_path) -> None:
    pieces, spans, at_s = [], [], 0.0
    for gap_s, name in ((3.0, "garden"), (7.5, "letter"), (1.5, "harbour"), (20.0, "garden")):
        clip = spoken[name]
        pieces += [np.zeros(int(gap_s * 16000), np.float32), clip.samples]
        at_s += gap_s
        spans.append((at_s, at_s + clip.duration_s))
        at_s += clip.duration_s
    path = tmp_path / "long.wav"
    soundfile.write(str(path), np.concatenate(pieces), 16000)
    finals = list(transcriber.transcribe(path))
    times = [time_s for final in finals for time_s in (final.start_s, final.end_s)]
    assert times == sorted(times)
    assert len(finals) == len(spans)
    for final, (start_s, end_s) in zip(finals, spans, strict=True):
        assert start_s - 0.5 <= final.start_s < final.end_s <= end_s + 0.5
        assert final.text


def test_a_budget_frees_rows_in_the_native_cache(transcriber, spoken) -> None:
    with Transcriber(EngineSettings(kv_share=0.4)) as small:
        # A clip that is heard well: what strays from the sound is read once more.
        (final,) = small.transcribe(spoken["letter"].path)
        cache, watch = small.cache, small.watch
        stats = cache.stats
        # Prompt: the question and its markup beside the audio.
        seen_rows = (cache.next_position - watch.text_tokens) * cache.context.shape.n_head
        held_rows = int(cache.context.counts.sum())
        generated_rows = watch.text_tokens * cache.context.shape.n_head
        assert final.text
        assert stats.evictions == 1
        assert held_rows == seen_rows + generated_rows - stats.freed_rows
        assert held_rows - generated_rows <= 0.4 * seen_rows
        assert held_rows - generated_rows >= 0.3 * seen_rows
        assert stats.freed_bytes == stats.freed_rows * cache.context.shape.row_bytes
        assert cache.context.pool_nbytes < transcriber.cache.context.pool_nbytes


@pytest.mark.parametrize("name", list(policies()))
def test_every_policy_runs_and_stays_within_its_budget(call, spoken, name) -> None:
    ran = call(
        "transcribe", spoken["garden"].path, "--kv-policy", name, "--kv-budget", "50%", "--verbose"
    )
    assert ran.code == 0
    assert words_of(ran.out) & words_of(spoken["garden"].text)
    freed = re.search(r"evictions +(\d+), (\d+) rows", ran.err)
    assert freed is not None
    n_evictions, n_rows = map(int, freed.groups())
    assert (n_evictions, n_rows > 0) == ((1, True) if policies()[name].evicts else (0, False))


def test_verbose_says_where_the_bytes_are(call, spoken) -> None:
    ran = call("transcribe", spoken["garden"].path, "--verbose")
    for part in ("weights", "encoder", "compute", "KV pools", "voice detector", "peak RSS"):
        assert re.search(rf"  {part} +\d+\.\d+ [KMG]iB", ran.err), ran.err
    phases = [line for line in ran.err.splitlines() if re.match(r"\[ *\d+\.\d\d s\] ", line)]
    assert any(line.endswith("smollm2-audio is loaded") for line in phases)
    assert any("memory plan: interpreter" in line and "cap 1.86 GiB" in line for line in phases)
    assert any("garden.flac: 4.7 s heard in" in line for line in phases)
