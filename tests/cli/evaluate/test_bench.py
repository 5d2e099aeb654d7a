"""`bench`: refusals before anything is loaded, and a whole run with real weights and speech."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_audiokv.native.stock import has_unpatched

if TYPE_CHECKING:
    from ...conftest import Caller, Clip, Command

SMALL = ("--contexts", "64", "--budgets", "100%,40%", "-n", "3", "-r", "2", "-t", "1")


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--contexts", "12", "12 is not from 64"),
        ("--budgets", "140%", "--budgets"),
        ("--kv-types", "f17", "none of f16, q8_0, q4_0"),
        ("-n", "0", "--n-gen"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    call: Caller, option: str, value: str, told: str
) -> None:
    ran = call("bench", option, value)
    assert ran.code == 2 and told in ran.complaint


def test_an_unknown_policy_is_told_before_anything_is_measured(
    call: Caller, local_model: object, tmp_path: Path
) -> None:
    ran = call("bench", "--kv-policy", "nope", "-o", tmp_path / "a.json")
    assert ran.code == 9 and not (tmp_path / "a.json").exists()


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.usefixtures("local_model")
def test_a_quick_run_measures_all_of_it(
    command: Command, spoken: dict[str, Clip], tmp_path: Path
) -> None:
    ran = command(
        "bench", spoken["letter"].path, "--quick", *SMALL, "-o", "a.json", "--plot", "a.png"
    )
    assert ran.code == 0 and ran.out == "", ran
    rows = json.loads((tmp_path / "a.json").read_text())
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    ours = [row for row in rows if row["implementation"] == "edge-audiokv"]
    assert [row["test"] for row in ours] == [
        "encoder", "reader", "latency", "session", "prefill", "decode", "eviction", "decode"
    ]  # fmt: skip
    encoder, reader, latency, session, prefill, whole, cut, kept = ours
    assert encoder["realtime_factor"] > 0 and reader["realtime_factor"] > 0
    assert latency["segments"] == 1 and latency["latency_p50_ms"] > 0
    assert 100e6 < session["peak_rss_bytes"] < 2e9
    assert prefill["n_prompt"] == 64 and prefill["avg_ts"] > 0
    # 30 layers of 3 heads; an eviction never leaves more than its share.
    assert whole["kv_rows"] == 64 * 90 and kept["kv_rows"] == cut["kv_rows"] <= 0.4 * 64 * 90
    grown = (kept["kv_rows"] - whole["kv_rows"]) * 256
    assert kept["bytes_per_token"] - whole["bytes_per_token"] == grown
    for row in (whole, kept):
        reached = row["median_ts"] * row["bytes_per_token"] / row["bandwidth_bytes_per_s"]
        assert row["limit_share"] == pytest.approx(reached)
        assert row["peak_rss_bytes"] > row["kv_bytes"]
        assert (row["ratio"] is not None) == has_unpatched()
    stock = [row["test"] for row in rows if row["implementation"] == "llama.cpp"]
    assert stock == (["prefill", "decode"] if has_unpatched() else [])


@pytest.mark.integration
@pytest.mark.usefixtures("local_model")
def test_ctrl_c_tells_what_there_is(command: Command) -> None:
    process = command.start(
        "bench", "-v", "--contexts", "64", "--budgets", "100%", "-n", "4096", "-r", "1000",
        "-f", "csv",
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:  # until all is found and the measuring begins
        if "a copy moves" in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err, err
    assert "broken off" in err
    assert out.startswith("build_commit,") and list(csv.DictReader(out.splitlines())) == []
