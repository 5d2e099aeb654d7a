"""Results for others' scorers: the rate that they say is ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from whisper_normalizer.english import EnglishTextNormalizer

from edge_audiokv.cli.evaluate.group import evaluate as group
from edge_audiokv.eval.leaderboard import save
from edge_audiokv.eval.wer import Hypothesis, Utterance, read_manifest, score_clip, summarise

DATA = Path(__file__).resolve().parents[1] / "data" / "manifest.jsonl"
PAIRS = [
    ("Mr. Brown's train was late, wasn't it?", "mister browns train is late was not it"),
    ("TWENTY FIVE POUNDS", "£25"),
    ("the colour of the sea", ""),
    ("Stay.", "stay stay stay stay"),
    ("nothing is lost", "Nothing is lost!"),
]


def word_error_rate(path: Path) -> float:
    """As the leaderboard scores: both texts normalised, empty references left out, edits of all
    clips over words of all clips. The edits are counted here, by the plain recurrence.
    """
    normalise = EnglishTextNormalizer()
    edits = words = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        said, heard = normalise(item["text"]).split(), normalise(item["pred_text"]).split()
        if not said:
            continue
        table = [[i + j if not i * j else 0 for j in range(len(heard) + 1)]
                 for i in range(len(said) + 1)]  # fmt: skip
        for i, word in enumerate(said, 1):
            for j, other in enumerate(heard, 1):
                table[i][j] = min(
                    table[i - 1][j] + 1,
                    table[i][j - 1] + 1,
                    table[i - 1][j - 1] + (word != other),
                )
        edits, words = edits + table[-1][-1], words + len(said)
    return edits / words


def test_the_rate_of_what_is_written_is_ours(tmp_path: Path) -> None:
    clips = [
        Utterance(str(i), tmp_path / f"{i}.wav", said, "") for i, (said, _) in enumerate(PAIRS)
    ]
    heard = {clip.path: text for clip, (_, text) in zip(clips, PAIRS, strict=True)}
    scores = [
        score_clip(clip, Hypothesis(heard[clip.path]), audio_s=2.0, compute_s=0.5) for clip in clips
    ]
    save(tmp_path / "r.jsonl", clips, scores, heard)
    first = json.loads((tmp_path / "r.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first == {
        "audio_filepath": str(tmp_path / "0.wav"),
        "duration": 2.0,
        "time": 0.5,
        "text": PAIRS[0][0],
        "pred_text": PAIRS[0][1],
    }
    rate = summarise("x", scores).wer
    assert 0.3 < rate < 0.9 and word_error_rate(tmp_path / "r.jsonl") == pytest.approx(rate)
    # It is a manifest, too: what was written is found again.
    assert [clip.text for clip in read_manifest(tmp_path / "r.jsonl")] == [p[0] for p in PAIRS]


@pytest.mark.integration
def test_the_command_writes_them(tmp_path: Path) -> None:
    results = tmp_path / "MODEL_default_DATASET_own.jsonl"
    command = ["wer", "--manifest", str(DATA), "--limit", "2", "--json", "-t", "1"]
    ran = CliRunner().invoke(group, [*command, "--results", str(results)])
    assert ran.exit_code == 0, ran.output
    (report,) = json.loads(ran.stdout)
    assert report["clips"] == len(results.read_text(encoding="utf-8").splitlines()) == 2
    assert word_error_rate(results) == pytest.approx(report["wer"])
    nowhere = CliRunner().invoke(group, [*command, "--results", str(tmp_path / "no" / "r.jsonl")])
    assert nowhere.exit_code != 0
