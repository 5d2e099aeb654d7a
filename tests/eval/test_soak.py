"""A soak: the arithmetic of its books, and ten simulated minutes of a real session."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edge_audiokv.errors import InputError
from edge_audiokv.eval.plots.soak import plot_soak
from edge_audiokv.eval.reminder import Reminder
from edge_audiokv.eval.soak import Minute, slope_mb_per_h
from edge_audiokv.eval.wer import read_manifest

pytestmark = pytest.mark.alone

MANIFEST = Path(__file__).parents[1] / "data" / "manifest.jsonl"
CODES = MANIFEST.parent / "codes" / "manifest.jsonl"
MEM_MB = 560


def minutes(rss_mb: list[float]) -> list[Minute]:
    rest = (0, 0, 0.0, 0.0, 0, 0, 0)
    return [Minute(60.0 * (i + 1), int(mb * 1e6), *rest) for i, mb in enumerate(rss_mb)]


def test_slope_of_a_line() -> None:
    line = [500 + 0.1 * i for i in range(120)]
    assert slope_mb_per_h(minutes(line)) == pytest.approx(6.0, abs=0.01)


def test_slope_ignores_the_first_ten_minutes_and_a_peak() -> None:
    flat = [400.0 + 10 * i for i in range(9)] + [500.0] * 60
    flat[40] = 900.0
    assert slope_mb_per_h(minutes(flat)) == 0.0


def test_slope_of_nothing() -> None:
    assert slope_mb_per_h([]) == slope_mb_per_h(minutes([5.0])) == 0.0


def command(*arguments: str) -> list[str]:
    soak = [sys.executable, "-m", "edge_audiokv", "soak", "--manifest", str(MANIFEST)]
    return [*soak, "--mem", f"{MEM_MB}MB", "--threads", "1", *arguments]


@pytest.fixture(scope="module")
def ten_minutes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Ten minutes of speech, silence, noise and music, in a process of its own."""
    plot = tmp_path_factory.mktemp("soak") / "soak.png"
    minutes = ["--hours", str(1 / 6), "--speech-share", "0.2", "--json", "--plot", str(plot)]
    done = subprocess.run(
        command(*minutes, "--codes", str(CODES), "--ask-every", "2"),
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert plot.read_bytes().startswith(b"\x89PNG")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_ten_minutes_are_heard_to_the_end(ten_minutes: dict[str, Any]) -> None:
    assert ten_minutes["complete"]
    # The code is said beside the ten minutes, in eight seconds.
    assert ten_minutes["simulated_s"] == pytest.approx(608, abs=0.2)
    assert len(ten_minutes["minutes"]) >= 9
    assert ten_minutes["segments"] >= 15
    assert ten_minutes["words"] > 150


def test_the_cap_is_kept_and_memory_is_level(ten_minutes: dict[str, Any]) -> None:
    assert ten_minutes["peak_rss_bytes"] <= ten_minutes["cap_bytes"] == MEM_MB * 1_000_000
    assert ten_minutes["ledger_off_share"] <= 0.03
    half = [m["rss_bytes"] for m in ten_minutes["minutes"] if m["time_s"] >= 300]
    assert max(half) - min(half) < 8_000_000


def test_age_does_not_cost_words(ten_minutes: dict[str, Any]) -> None:
    assert ten_minutes["wer_first"] < 0.2
    assert ten_minutes["wer_last"] == pytest.approx(ten_minutes["wer_first"], abs=0.01)


def test_what_was_said_once_is_asked_for_again(ten_minutes: dict[str, Any]) -> None:
    assert 300 <= ten_minutes["asked_about_s"] < 360
    answers = ten_minutes["answers"]
    assert [round(answer["time_s"] / 60) for answer in answers] == [8, 10]
    assert all(answer["right"] and answer["took_s"] > 0 for answer in answers), answers


def test_a_clip_without_a_code_is_refused() -> None:
    clip = read_manifest(MANIFEST)[0]
    with pytest.raises(InputError, match="says no code"):
        Reminder(clip, every_s=60, duration_s=600)


def test_interrupt_tells_what_there_is(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    process = subprocess.Popen(
        command("--hours", "8", "--speech-share", "0.05", "--report", str(report)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not report.exists() and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert "peak RSS" in out
    written = json.loads(report.read_text())
    assert not written["complete"]
    assert written["simulated_s"] >= 60


def test_a_plot_needs_a_place(tmp_path: Path) -> None:
    from edge_audiokv.errors import OutputError
    from edge_audiokv.eval.soak import SoakReport

    numbers = {name: 0 for name in SoakReport.__dataclass_fields__}
    empty = SoakReport(
        **{**numbers, "minutes": tuple(minutes([1.0, 2.0])), "cap_bytes": 10**6}  # type: ignore[arg-type]
    )
    with pytest.raises(OutputError, match="Cannot write"):
        plot_soak(empty, tmp_path / "missing" / "soak.png")
