"""The bar of the eval commands counts what was done, and stays away where nobody watches."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from edge_audiokv.cli.evaluate.common import counted, show


@pytest.mark.parametrize("watched", [True, False])
def test_the_bar_counts_steps_for_who_watches(watched: bool) -> None:
    out = io.StringIO()
    with counted(3, "heard", Console(file=out, force_terminal=watched, width=80)) as advance:
        advance("one word")
        advance("two words")
    assert ("two words" in out.getvalue() and "2/3" in out.getvalue()) is watched
    assert watched or not out.getvalue()


def test_long_work_that_nobody_watches_tells_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    out = io.StringIO()
    with counted(10, "heard", Console(file=out, force_terminal=False, width=20)) as advance:
        for step in range(10):
            now_s += 20
            advance(f"step [{step}] of the work")
    lines = out.getvalue().splitlines()
    assert lines[0] == "2/10, step [1] of the work, about 3 min left"
    assert [line.split("/")[0] for line in lines] == ["2", "4", "6", "8"]


def test_a_result_is_shown_as_json_or_as_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show({"text": "höre"}, ["a", "b"], as_json=False)
    assert capsys.readouterr().out == "a\nb\n"
    show({"text": "höre"}, ["a", "b"], as_json=True)
    out = capsys.readouterr().out
    assert json.loads(out) == {"text": "höre"} and "ö" in out
