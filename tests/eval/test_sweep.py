from __future__ import annotations

from dataclasses import replace

import pytest

from edge_audiokv.errors import InputError
from edge_audiokv.eval.sweep import Point, append_points, read_points, summarise, table


def points() -> list[Point]:
    base = Point("one-shot", "keep-all", 1.0, "a", 10.0, 20.0, 10, 5, 100, 100, 1000)
    cut = replace(base, policy="snapkv", share=0.4, kept_rows=40)
    return [
        base,
        replace(base, clip="b", nll=10.0),
        replace(cut, nll=30.0, hits=2),
        replace(cut, clip="b", nll=15.0),
    ]


def test_rise_is_relative_to_the_full_cache_on_the_same_clips():
    full, cut = summarise(points())
    assert (full.policy, full.nll, full.rise) == ("keep-all", 1.5, 0.0)
    assert cut.nll == 2.25 and cut.rise == pytest.approx(0.5)
    # Both clips rise by half, so every draw of clips does.
    assert cut.rise_low == pytest.approx(0.5) and cut.rise_high == pytest.approx(0.5)
    assert cut.nll_low == 1.5 and cut.nll_high == 3.0
    assert cut.kept_share == 0.4 and cut.accuracy == 7 / 20


def test_only_clips_that_every_row_has_are_compared():
    extra = replace(points()[0], clip="c", nll=1000.0)
    assert summarise([*points(), extra]) == summarise(points())
    with pytest.raises(InputError, match="under every policy"):
        summarise([points()[0], points()[3]])


def test_table_lists_policies_best_first():
    better = [replace(p, policy="ours", nll=p.nll / 1.4) for p in points()[2:]]
    text = table(summarise([*points(), *better]))
    assert text.index("| ours |") < text.index("| snapkv |")
    assert "+50.0%" in text and "40%" in text


def test_points_survive_a_file(tmp_path):
    path = tmp_path / "points.jsonl"
    assert read_points(path) == []
    append_points(path, points()[:2])
    append_points(path, points()[2:])
    assert read_points(path) == points()
