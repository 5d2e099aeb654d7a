"""Tables, fronts, advice, and whether damage adds up, from rows with known numbers."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from edge_audiokv.eval.plots.quants import plot_quants
from edge_audiokv.eval.quants.added import added, added_text, verdict
from edge_audiokv.eval.quants.grid import BASE_CELL
from edge_audiokv.eval.quants.report import fronts, markdown, recommend, to_csv, total_bytes
from edge_audiokv.eval.quants.rows import Row

from .made import BOTH, CUT, Q4, row

Q8 = replace(Q4, weights="Q8_0")
BASE_ROW = row(BASE_CELL)


def rows(n: int = 10) -> list[Row]:
    base = row(BASE_CELL, n=n)
    return [base, row(Q8, base, n=n, nats=0.001), row(Q4, base, n=n, nats=0.1, wrong=3)]


def test_a_table_has_a_line_a_cell_with_figures_and_intervals() -> None:
    text = markdown([*rows(), {**row(CUT), "error": "it died"}])
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3 and len({line.count("|") for line in lines}) == 1
    assert "| F16 | f16 | - | 100% | 3.8 MiB |" in lines[2]
    assert "0.1000 [0.1000, 0.1000]" in lines[4] and "+15.0 [" in lines[4]
    assert "- base, KV f16, snapkv 40%: it died" in text and "came in Q4_1" in text


def test_the_front_is_what_no_other_beats() -> None:
    both = rows()
    assert fronts(both).kld == {0, 1, 2}
    worse = row(replace(Q8, type_k="q8_0"), BASE_ROW, nats=0.2, wrong=4)
    front = fronts([*both, worse])
    assert front.kld == {0, 1, 2} and front.mark(3) == ""
    # The same word errors in fewer bytes leave the base behind.
    assert front.wer == {1, 2} and front.mark(0) == "K" and front.mark(1) == "KW"


def test_fronts_agree_with_their_definition() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    made = []
    for _ in range(40):
        size, nats = (int(n) for n in rng.integers(1, 12, 2))
        made.append({**BASE_ROW, "model_bytes": size, "kv_bytes": 0, "kld_mean": nats, "wer": nats})
    best = fronts(made).kld
    points = [(total_bytes(item), item["kld_mean"]) for item in made]
    for index, (size, nats) in enumerate(points):
        beaten = any((s <= size and n < nats) or (s < size and n <= nats) for s, n in points)
        assert (index in best) is not beaten


def test_the_smallest_cell_that_is_shown_to_cost_little_is_advised() -> None:
    said = recommend(rows(n=40))
    assert said.startswith("Run Q8_0 with KV f16 and all rows (1.9 MiB") and "of 2 cells" in said
    same = row(Q4, row(BASE_CELL, n=40), n=40, nats=0.2)
    said = recommend([*rows(n=40)[:2], same])
    assert said.startswith("Run Q4_0")
    assert said.count(". ") == 0 and said.endswith(".")


def test_no_difference_in_few_words_shows_nothing() -> None:
    for n, shown in ((20, False), (29, False), (30, True)):  # clips of ten words
        base = row(BASE_CELL, n=n)
        like = row(Q8, base, n=n)
        assert like["wer_rise_high"] == 0
        assert recommend([base, like]).startswith("Run Q8_0") is shown


def test_where_clips_are_too_few_the_advice_says_so() -> None:
    base = row(BASE_CELL, n=1)
    like = {**row(Q8, base, n=1), "same_top": 0.99}
    said = recommend([base, like])
    assert said.startswith("1 clips of 10 words do not show any of 1 cells") and "run Q8_0" in said
    assert "none has the base's first choice" in recommend([base, {**like, "same_top": 0.5}])
    assert "only the base" in recommend([base])


def test_a_cell_in_which_more_clips_collapse_is_not_advised() -> None:
    hidden = {**row(Q4, row(BASE_CELL, n=40), n=40), "collapsed_rise": 0.1}
    assert recommend([*rows(n=40)[:2], hidden]).startswith("Run Q8_0")


def test_csv_has_flat_lines_of_all_runs() -> None:
    found = list(csv.DictReader(io.StringIO(to_csv([rows(), rows()]))))
    assert len(found) == 6 and found[0]["front"] == "K"
    assert float(found[2]["kld_mean"]) == pytest.approx(0.1)
    assert float(found[2]["peak_rss_bytes"]) == 10**8
    assert not {"scores", "timings", "tensors"} & set(found[0])


@pytest.mark.parametrize("name", ["run.svg", "run.png"])
def test_a_picture_is_drawn_whole(tmp_path: Path, name: str) -> None:
    plot_quants([rows()], tmp_path / name)
    (path,) = tmp_path.iterdir()
    assert path.name == name and path.stat().st_size > 5000


@pytest.mark.parametrize(
    ("nats", "words"),
    [
        (0.5, "1 lose more than their parts added up, 0 lose less, and of 0"),
        (0.375, "0 lose more than their parts added up, 0 lose less, and of 1"),
        (0.25, "0 lose more than their parts added up, 1 lose less, and of 0"),
    ],
)
def test_damage_is_compared_with_that_of_the_parts(nats: float, words: str) -> None:
    parts = [row(Q4, BASE_ROW, nats=0.125, wrong=2), row(CUT, BASE_ROW, nats=0.25, wrong=1)]
    (item,) = added([BASE_ROW, *parts, row(BOTH, BASE_ROW, nats=nats, wrong=4)])
    assert (item.sum_kld, item.kld, item.more_kld.value) == (0.375, nats, nats - 0.375)
    assert item.rise == pytest.approx(0.2) and item.sum_rise == pytest.approx(0.15)
    assert item.more_rise.value == pytest.approx(0.05)
    assert words in verdict([item]) and BOTH.name in added_text([item])


def test_without_its_parts_a_cell_is_left_out() -> None:
    assert added([BASE_ROW, row(Q4, BASE_ROW), row(BOTH, BASE_ROW)]) == []
    assert added_text([]) == ""
