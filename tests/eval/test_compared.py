from __future__ import annotations

import pytest

from edge_audiokv.eval.compared import (
    by_cell,
    bytes_text,
    losses,
    recall_report,
    refused,
    rivals,
    rivals_text,
    word_errors,
    words_report,
)
from edge_audiokv.eval.plots.panels import plot
from edge_audiokv.eval.suites import FULL, OURS, Suite

WORDS = Suite("words", "words", "Words", 0, 9, (("snapkv", 0.4), (OURS, 0.4)), core=((OURS, 0.4),))


def heard(policy, share, clip, edits, raw=None, looped=False):
    return {
        "policy": policy,
        "share": share,
        "clip": clip,
        "words": 10,
        "edits": edits,
        "raw_edits": edits if raw is None else raw,
        "looped": looped,
        "kept_bytes": int(100 * share),
    }


def rows():
    found = []
    for clip, full in (("x", 1), ("y", 3)):
        found += [
            heard(FULL, 1.0, clip, full),
            heard(OURS, 0.4, clip, full + 1),
            heard("snapkv", 0.4, clip, full + 5, raw=30, looped=clip == "x"),
        ]
    # A third clip that only ours and the full cache have.
    return [*found, heard(FULL, 1.0, "z", 0), heard(OURS, 0.4, "z", 4)]


def test_rises_are_paired_and_only_shared_clips_count():
    found = {w.policy: w for w in word_errors(by_cell(rows()))}
    assert found[FULL].wer == pytest.approx(0.2) and found[FULL].clips == 2
    ours = found[OURS]
    # Both clips rise by one word of ten: every draw of clips does, so the interval is a point.
    assert (ours.rise, ours.rise_low, ours.rise_high) == pytest.approx((0.1, 0.1, 0.1))
    snap = found["snapkv"]
    assert (snap.wer, snap.raw_wer, snap.loops) == pytest.approx((0.7, 3.0, 0.5))


def test_our_policy_is_reported_on_all_the_clips_it_has():
    text, panel = words_report(WORDS, rows())
    assert "2 clips, 20 words" in text and "3 clips, 30 words" in text
    assert "+20.00" in text.split("3 clips")[1]
    assert panel.full == pytest.approx(20.0) and set(panel.lines) == {OURS, "snapkv"}
    assert words_report(WORDS, rows()[1:2]) is None


def test_recall_counts_right_answers_of_shared_questions():
    suite = Suite("recall", "recall", "Recall", 45, 8, ((OURS, 0.4),))

    def answered(policy, share, question, right):
        return {
            "policy": policy,
            "share": share,
            "clip": "x",
            "question": question,
            "kind": "first",
            "right": right,
        }

    found = [
        answered(FULL, 1.0, "a", True),
        answered(FULL, 1.0, "b", True),
        answered(OURS, 0.4, "a", False),
        answered(OURS, 0.4, "b", True),
        answered(FULL, 1.0, "c", True),
    ]
    text = recall_report(suite, found)
    assert "2 questions" in text and "full cache 2 (100%)" in text
    assert f"| {OURS} | 1 (50%) |" in text
    assert recall_report(suite, found[2:3]) is None


def test_losses_bytes_and_refusals_are_told_and_drawn(tmp_path):
    suite = Suite("loss-25s", "loss", "Loss, joins", 25, 2, ((OURS, 0.4),))
    point = {
        "protocol": "loss-25s",
        "policy": FULL,
        "share": 1.0,
        "clip": "x",
        "audio_s": 20.0,
        "nll": 10.0,
        "n_tokens": 10,
        "hits": 9,
        "kept_rows": 100,
        "full_rows": 100,
        "pool_bytes": 4 << 20,
        "took_s": 0.1,
    }
    cut = {**point, "policy": OURS, "share": 0.4, "nll": 11.0, "pool_bytes": 2 << 20}
    refusal = {"policy": "cake", "share": 0.2, "clip": "x", "question": "", "error": "Too small."}
    found = [point, cut, refusal]
    text, panel = losses(suite, found)
    assert "Loss, joins" in text and "+10.0%" in text
    assert "4.0 MiB" in bytes_text(suite, found) and "2.0 MiB" in bytes_text(suite, found)
    assert refused(found) == ["cake at 20%: Too small."]
    assert losses(suite, []) is None
    plot([panel, panel, panel], tmp_path / "p.png")
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]
    assert (tmp_path / "p.png").stat().st_size > 5000


def test_who_beats_ours_is_told_by_pairs_not_by_means():
    def row(policy: str, share: float, clip: int, nll: float) -> dict:
        return {"policy": policy, "share": share, "clip": f"c{clip}", "nll": nll}

    rows = []
    for clip in range(8):
        hard = 10.0 * (clip + 1)  # clips differ far more than policies do
        rows += [
            row("keep-all", 1.0, clip, hard),
            row("audiokv-edge", 0.4, clip, hard * 1.05),
            row("steady", 0.4, clip, hard * 1.02),
            row("lucky", 0.4, clip, hard * (0.7 if clip == 7 else 1.2)),
            row("worse", 0.4, clip, hard * 1.3),
        ]
    ((policy, share, gain, low, high),) = rivals(by_cell(rows))
    assert (policy, share) == ("steady", 0.4)
    assert gain == pytest.approx(-0.03) and low <= gain <= high < 0
    assert "steady at 40% (-3.0%" in rivals_text(by_cell(rows))
    assert "of 3 compared" in rivals_text(by_cell(rows))
    assert rivals_text(by_cell(rows[:2])).endswith("none.\n")
