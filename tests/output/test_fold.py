"""Lines on a terminal: no word is cut, no word is lost, nothing is wider than the screen."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.output.fold import fitted, fold


@given(st.lists(st.text("abcé漢", min_size=1, max_size=6), max_size=60), st.integers(20, 120))
def test_words_stay_whole_and_lines_fit(words: list[str], columns: int) -> None:
    folded = fold(" ".join(words), columns, 4)
    assert folded.split() == words
    assert all(len(line) + line.count("漢") < columns for line in folded.split("\n"))


def test_a_table_goes_on_under_its_second_column() -> None:
    line = "  policy          audiokv-edge, 40% of the rows kept"
    assert fold(line, 40) == "  policy          audiokv-edge, 40% of\n" + " " * 18 + "the rows kept"
    assert fold(line, 80) == line


def test_a_path_that_fits_no_column_has_a_line_of_its_own() -> None:
    path = "/root/.cache/edge-audiokv/files/b179c9523d0e/" + "b" * 20
    row = f"        llm                     {path} sha256 b179c9523d0e"
    assert fold(row, 80) == (f"        llm\n          {path}\n{' ' * 32}sha256 b179c9523d0e")
    longer = path + "c" * 10
    assert fold(row.replace(path, longer), 80).split("\n")[1] == longer
    # In a sentence it goes on where the sentence does.
    assert fold(f"wrote it to {path} at last", 70) == f"wrote it to\n{path} at\nlast"


def test_a_path_is_left_whole() -> None:
    path = "/a/" + "b" * 90
    assert fold(f"wrote it to {path} at last", 40).split("\n")[1].startswith(path)


def test_styles_take_no_column() -> None:
    line = " ".join(["\x1b[1mword\x1b[0m"] * 7)
    assert fold(line, 40) == line


@pytest.mark.parametrize("stream", [io.StringIO(), None])
def test_what_is_no_terminal_gets_it_as_it_is(stream: object) -> None:
    assert fitted("word " * 100, stream) == "word " * 100
