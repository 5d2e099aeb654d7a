"""Every policy on the real default model: rows and bytes as the native layer reports them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edge_audiokv.audio.files.file import read_all
from edge_audiokv.calibrate.clips import plan_joins, spoken
from edge_audiokv.calibrate.parts import Parts, load_parts
from edge_audiokv.calibrate.prefilled import Clip, Prefilled
from edge_audiokv.cli.models.calibrate import calibrate
from edge_audiokv.encoder.base import Encoder
from edge_audiokv.eval.sweep import one_shot, stream
from edge_audiokv.kv.budget import apart
from edge_audiokv.kv.policy import make_policy, policies
from edge_audiokv.kv.profile import load_profile
from edge_audiokv.native.context import HeadwiseContext

pytestmark = pytest.mark.integration
DATA = Path(__file__).parents[1] / "data" / "manifest.jsonl"
NAMES = [name for name in policies() if name != "keep-all"]


@pytest.fixture(scope="module")
def parts() -> Iterator[Parts]:
    loaded = load_parts("smollm2-audio")
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def clip(parts: Parts) -> Clip:
    return next(plan_joins(parts, DATA, seconds=6, limit=1)).encode(parts)


@pytest.fixture(scope="module")
def start(parts: Parts, clip: Clip) -> Iterator[Prefilled]:
    with Prefilled(parts, clip) as prefilled:
        yield prefilled


@pytest.mark.parametrize("name", NAMES)
def test_rows_and_bytes_are_freed_in_the_native_cache(parts, start, name):
    assert parts.local.profile_path is not None
    policy = make_policy(name, profile=load_profile(parts.local.profile_path))
    targets = start.targets(policy, 0.4)
    full = start.context.counts
    assert targets.sum() <= 0.4 * full.sum()
    with HeadwiseContext(
        parts.model, apart(targets, start.n_rows), n_threads=1, score_window=0
    ) as context:
        context.load_state(start.state)
        eviction = start.controller(policy).evict(context, targets)
        np.testing.assert_array_equal(context.counts, targets)
        assert eviction.freed_rows == full.sum() - context.counts.sum()
        assert context.free_rows >= (context.capacity - targets).min()
        cut = context.save_state()
    # What is left fits a pool of its own size, which is smaller by what was freed.
    with HeadwiseContext(parts.model, targets, n_threads=1, score_window=0) as small:
        rows_bytes = int(small.capacity.sum()) * small.shape.row_bytes
        assert small.pool_nbytes < start.context.pool_nbytes
        assert rows_bytes <= small.pool_nbytes
    assert len(cut) < len(start.state)


def test_edge_loses_least_and_keeping_all_loses_nothing(parts, start):
    profile = load_profile(parts.local.profile_path)
    full = one_shot(start, make_policy("keep-all"), 1.0)
    assert one_shot(start, make_policy("keep-all"), 0.3) == full
    edge = one_shot(start, make_policy("audiokv-edge", profile=profile), 0.4)
    assert edge.kept_rows <= 0.4 * full.kept_rows
    for name in ("snapkv", "streaming-llm", "random"):
        assert edge.nll < one_shot(start, make_policy(name, profile=profile), 0.4).nll


def test_a_stream_stays_in_its_pool(parts, clip):
    profile = load_profile(parts.local.profile_path)
    policy = make_policy("audiokv-edge", profile=profile)
    loss = stream(parts, clip, policy, 0.8)
    assert loss.kept_rows < loss.full_rows
    row_bytes = parts.model.shape.row_bytes
    assert loss.kept_rows * row_bytes <= loss.pool_bytes
    assert np.isfinite(loss.nll)


def test_the_shipped_profile_was_made_with_the_shipped_weights(parts):
    profile = load_profile(parts.local.profile_path)
    profile.check(parts.model.shape, parts.local.model_hash)
    assert profile.model_hash == parts.local.model_hash
    assert {"speech", "loss"} <= set(profile.tables)


def test_calibrate_makes_a_profile_of_the_heads_that_listen(parts, clip, tmp_path):
    entry = json.loads(DATA.read_text().splitlines()[0])
    words = entry["text"].split()
    # Times by proportion are good enough to see a profile come out; real ones come from alignment.
    each_s = clip.audio_s / len(words)
    entry["words"] = [
        {"text": word, "start_s": i * each_s, "end_s": (i + 1) * each_s}
        for i, word in enumerate(words)
    ]
    entry["path"] = str(DATA.parent / entry["path"])
    manifest = tmp_path / "words.jsonl"
    manifest.write_text(json.dumps(entry))
    output, plot = tmp_path / "heads.json", tmp_path / "heads.png"
    arguments = ["--data", str(manifest), "-o", str(output), "--clips", "1", "--tables", "speech"]
    result = CliRunner().invoke(calibrate, [*arguments, "--plot", str(plot)])
    assert result.exit_code == 0, result.output
    profile = load_profile(output)
    profile.check(parts.model.shape, parts.local.model_hash)
    assert profile.weights("speech").max() > 0
    assert plot.stat().st_size > 1000
    assert sorted(tmp_path.iterdir()) == sorted([manifest, output, plot])


def test_word_times_come_from_the_encoder_where_the_manifest_has_none(parts):
    join = next(plan_joins(parts, DATA, seconds=0, limit=1))
    words = join.words(parts)
    assert [word.text for word in words] == spoken(join.texts[0]).split()
    assert np.mean([word.confidence > 0.5 for word in words]) > 0.6
    samples = read_all(join.paths[0])
    loudness = np.abs(samples)
    starts = [word.start_s for word in words]
    assert starts == sorted(starts) and words[-1].end_s <= len(samples) / 16000 + 0.08
    inside = np.zeros(len(samples), bool)
    for word in words:
        inside[int(16000 * word.start_s) : int(16000 * word.end_s)] = True
    assert loudness[inside].mean() > 2 * loudness[~inside].mean(), "words are where sound is"


def test_calibrate_refuses_clips_without_word_times(tmp_path):
    entry = json.loads(DATA.read_text().splitlines()[0]) | {"words": [{"text": "hello"}]}
    entry["path"] = str(DATA.parent / entry["path"])
    manifest = tmp_path / "words.jsonl"
    manifest.write_text(json.dumps(entry))
    result = CliRunner().invoke(
        calibrate, ["--data", str(manifest), "-o", str(tmp_path / "x.json"), "--tables", "speech"]
    )
    assert result.exit_code != 0
    assert "no usable word times" in str(result.exception)
    assert not (tmp_path / "x.json").exists()


def test_words_are_found_where_the_llm_looks_as_well_as_by_the_encoders_own(parts, tmp_path):
    mute = replace(parts, encoder=Mute(parts.encoder))
    # Of a mute encoder's LLM nobody knows that it writes plain words.
    entries = [json.loads(line) for line in DATA.read_text().splitlines()]
    plain = [
        {**entry, "text": spoken(entry["text"]), "path": str(DATA.parent / entry["path"])}
        for entry in entries
    ]
    manifest = tmp_path / "plain.jsonl"
    manifest.write_text("\n".join(map(json.dumps, plain)))
    apart_s = []
    for join in plan_joins(parts, manifest, seconds=0, limit=6):
        by_encoder, by_attention = join.words(parts), join.words(mute)
        assert [word.text for word in by_attention] == [word.text for word in by_encoder]
        assert all(0 < word.confidence <= 1 for word in by_attention)
        apart_s += [
            abs((a.start_s + a.end_s) - (b.start_s + b.end_s)) / 2
            for a, b in zip(by_attention, by_encoder, strict=True)
        ]
    # A row is 80 ms.
    assert np.median(apart_s) <= 0.12
    assert np.mean(np.array(apart_s) <= 0.4) >= 0.9


class Mute:
    """The encoder without its vocabulary, as most are."""

    words = ()

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


def test_calibrate_says_that_its_clips_are_too_short_to_join(tmp_path):
    (tmp_path / "one.jsonl").write_text(
        json.dumps({"path": str(DATA.parent / "letter.flac"), "text": "He wrote a long letter."})
    )
    arguments = ["--data", str(tmp_path / "one.jsonl"), "-o", str(tmp_path / "x.json")]
    result = CliRunner().invoke(calibrate, [*arguments, "--tables", "loss"])
    assert "are shorter than 18 s, all joined" in str(result.exception)
    assert "--loss-seconds" in result.exception.cure
    assert [path.name for path in tmp_path.iterdir()] == ["one.jsonl"]
