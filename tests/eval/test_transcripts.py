from __future__ import annotations

from edge_audiokv.eval.transcripts import guard, runaway_tokens


def test_the_guard_leaves_good_text_alone():
    assert guard([1, 2, 3, 4], 10.0) == ([1, 2, 3, 4], "")


def test_a_loop_is_cut_to_its_first_round_and_named():
    kept, verdict = guard([9, *[1, 2, 3, 4] * 6], 60.0)
    assert verdict == "loop" and kept == [9, 1, 2, 3, 4]


def test_text_longer_than_speech_can_be_is_a_runaway():
    limit = runaway_tokens(1.0)
    ids = list(range(limit + 20))
    kept, verdict = guard(ids, 1.0)
    assert verdict == "runaway" and len(kept) == limit
