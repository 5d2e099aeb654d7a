"""Rows: what they tell, and that a kill at any byte leaves a run that can be gone on with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_audiokv.errors import InputError, OutputError, WorseError
from edge_audiokv.eval.quants.grid import BASE_CELL
from edge_audiokv.eval.quants.limits import Limit, check_limits
from edge_audiokv.eval.quants.rows import Store, failed, latest, read_rows, score

from .made import CUT, Q4, clips, found, row


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run.jsonl"
    with Store(path) as store:
        for cell in (BASE_CELL, Q4):
            store.append(row(cell))
    return path


def test_rows_are_read_as_they_were_written_and_by_their_owner_alone(run: Path) -> None:
    assert read_rows(run) == [row(BASE_CELL), row(Q4)]
    assert run.stat().st_mode & 0o777 == 0o600


def test_a_torn_last_line_is_dropped_wherever_it_was_torn(run: Path) -> None:
    data = run.read_bytes()
    first = data.index(b"\n") + 1
    for end in (first + 1, first + 40, len(data) - 1):
        run.write_bytes(data[:end])
        assert read_rows(run) == [row(BASE_CELL)]
        with Store(run) as store:
            assert run.read_bytes() == data[:first]
            store.append(row(Q4))
        assert run.read_bytes() == data
    for end in (0, 1, 5, first - 1):
        run.write_bytes(data[:end])
        with Store(run):
            assert run.read_bytes() == b""


@pytest.mark.parametrize("text", ["notes", "{}\n", '{"schema": 1, "x": 2}\n', '{"schema": 2, '])
def test_another_file_is_refused_and_stays_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(InputError, match="no row of"), Store(path):
        raise AssertionError("it was opened")
    assert path.read_text() == text


def test_a_damaged_line_in_the_middle_is_told(run: Path) -> None:
    lines = run.read_bytes().splitlines(keepends=True)
    run.write_bytes(lines[0] + b'{"schema": 1, "half\n' + lines[1])
    with pytest.raises(InputError, match="line 2"):
        read_rows(run)


def test_two_processes_do_not_write_one_run(run: Path) -> None:
    with Store(run), pytest.raises(OutputError, match="Another run"), Store(run):
        raise AssertionError("it was opened twice")
    with Store(run):
        pass


def test_an_empty_run_is_left_to_who_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with Store(path):
        with pytest.raises(OutputError, match="Another run"), Store(path):
            raise AssertionError("it was opened twice")
        assert path.exists()
    assert not path.exists()


def test_a_row_that_cannot_be_written_leaves_none_of_itself(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, write = run.read_bytes(), os.write

    def full(handle: int, data: bytes) -> int:
        if len(data) < 200:
            raise OSError(28, "No space left on device")
        return write(handle, data[:150])

    with Store(run) as store:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OutputError, match="Free some space"):
            store.append(row(CUT))
    assert run.read_bytes() == before


def test_a_cell_that_failed_counts_only_until_it_is_measured() -> None:
    lost = {**row(Q4), "error": "it died"}
    assert failed([row(BASE_CELL), lost]) == {Q4: "it died"}
    assert list(latest([row(BASE_CELL), lost])) == [BASE_CELL]
    assert not failed([lost, row(Q4)]) and not failed([row(Q4), lost])


def test_what_a_mean_hides_is_in_the_row() -> None:
    heard = found(4, wrong=6)
    heard["clips"][0]["text"] = ""
    heard["clips"][2]["text"] = "red green red green red green"
    told = score(clips(4), "clip", heard)
    assert told["words"] == 40 and told["clips"] == 4
    # Two clips with six other words, one without any, one with two right.
    assert told["wer"] == pytest.approx((6 + 10 + 6 + 8) / 40)
    assert told["collapsed_share"] == 1.0 and told["repeat_words"] == 5
    assert told["same_top"] == pytest.approx(11 / 12) and told["kept_share"] == 0.4
    assert told["evicted_clips"] == 4 and told["blocks"] == 4


def test_clips_are_compared_with_the_same_clips_of_the_base() -> None:
    base = row(BASE_CELL, wrong=1)
    worse = row(Q4, base, wrong=2, nats=0.5)
    assert worse["wer_rise"] == pytest.approx(0.05)
    assert 0 < worse["wer_rise_low"] < 0.05 < worse["wer_rise_high"] <= 0.1
    assert worse["kld_low"] == worse["kld_high"] == worse["kld_mean"] == 0.5
    assert base["wer_rise"] == base["wer_rise_low"] == base["wer_rise_high"] == 0


def test_limits_are_kept_in_the_units_that_people_type() -> None:
    base = row(BASE_CELL)
    rows = [base, row(Q4, base, wrong=2, nats=0.5)]  # ten points
    for name, most in (("wer", 10.0), ("kld", 0.5), ("collapsed", 0.0)):
        check_limits(rows, [Limit(name, most)])
    for name, most in (("wer", 9.9), ("kld", 0.49)):
        with pytest.raises(WorseError, match=r"1 cells are above .*Q4_0, KV f16"):
            check_limits(rows, [Limit(name, most)])
    assert WorseError.exit_code == 14
