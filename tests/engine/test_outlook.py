"""What `models plan` foretells is what a session then gets."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner

from edge_audiokv.cli.main import cli
from edge_audiokv.cli.models import plan
from edge_audiokv.engine.memory.estimate import context_bytes
from edge_audiokv.engine.memory.outlook import Outlook, Remembering
from edge_audiokv.kv.policy import make_policy
from edge_audiokv.models.sizes import PUBLIC_MODELS
from edge_audiokv.units import parse_bytes

LOADED = """
from edge_audiokv.engine.session import Session
with Session(mem="700MB") as session:
    print(session.caches.memory.context.pool_nbytes)
"""


def under(model: Remembering, cap: str, share: float = 1.0, kind: str = "f16") -> Outlook:
    policy = make_policy("audiokv-edge")
    return model.under(parse_bytes(cap), share=share, policy=policy, type_k=kind, type_v=kind)


@pytest.mark.integration
def test_a_session_gets_the_rows_that_were_foretold(local_model) -> None:
    model = Remembering.of_local(local_model)
    foretold = under(model, "700MB")
    # In a process of its own: what else runs in this one would be counted.
    command = [sys.executable, "-c", LOADED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert foretold.kv_bytes == pytest.approx(int(done.stdout), rel=0.05)


@pytest.mark.parametrize("public", PUBLIC_MODELS, ids=lambda model: model.name)
def test_more_memory_and_fewer_or_smaller_rows_remember_more(public) -> None:
    model = Remembering.of_public(public)
    seconds = [under(model, cap).remembered_s for cap in ("2GB", "4GB", "6GB", "12GB")]
    assert seconds == sorted(seconds) and seconds[-1] > 0
    for share, kind in ((0.4, "f16"), (1.0, "q8_0")):
        assert under(model, "12GB", share, kind).remembered_s >= seconds[-1] * (1 - 1e-6)
    most_s = public.context_length_tokens / model.rows_per_second
    assert under(model, "900GB", 0.4).remembered_s <= most_s


@pytest.mark.parametrize("cap", ["2GB", "6GB"])
def test_a_context_goes_with_the_width_of_the_llm_and_its_tokens(cap: str) -> None:
    small = Remembering.of_public(PUBLIC_MODELS[0])
    kept = under(small, cap).kv_bytes
    for wider in (context_bytes(12_288, 152_000), context_bytes(6_144, 600_000)):
        grown = wider - small.context_bytes
        assert grown > 0
        lost = kept - under(replace(small, context_bytes=wider), cap).kv_bytes
        # A segment's context and the memory's; and what is kept free, a share of all.
        assert lost == pytest.approx(2 * grown, rel=0.15)


def test_a_model_that_does_not_fit_says_what_would_do() -> None:
    model = Remembering.of_public(PUBLIC_MODELS[-1])
    refused = under(model, "2GB")
    assert refused.kv_bytes == 0 and refused.remembered_s == 0
    enough = under(model, f"{refused.least_cap_bytes // 1_000_000}MB")
    assert enough.kv_bytes > 0
    # What cannot be asked keeps no room for a question's reminders.
    mute = under(replace(model, asks=False), "2GB")
    assert mute.least_cap_bytes < refused.least_cap_bytes


def test_the_table_fits_a_terminal_and_agrees_with_the_json() -> None:
    table = CliRunner().invoke(cli, ["models", "plan", "--mem", "2GB,12GB"])
    assert table.exit_code == 0, table.output
    lines = table.output.splitlines()
    assert max(map(len, lines)) <= 80 and len(lines) == 2 + len(PUBLIC_MODELS)
    told = CliRunner().invoke(cli, ["models", "plan", "--mem", "2GB,12GB", "--json"])
    for line, document in zip(lines[2:], json.loads(told.output), strict=True):
        assert line.startswith(document["name"][:23])
        minutes = [round(second / 60) for second in document["caps"][1]["remembered_s"]]
        assert line.endswith(f"{minutes[0]} / {minutes[1]}")
        if document["caps"][0]["kv_bytes"][0] == 0:
            assert " - " in line and document["caps"][0]["least_cap_bytes"] > 2e9


@pytest.mark.parametrize("columns", [80, 50])
def test_no_cell_of_the_table_is_cut_in_two(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = CliRunner().invoke(cli, ["models", "plan"]).output.splitlines()
    monkeypatch.setattr(plan, "columns_of", lambda _stream: columns)
    lines = CliRunner().invoke(cli, ["models", "plan"]).output.splitlines()[1:]
    assert max(map(len, lines)) < columns  # a terminal folds none of them
    blocks = [block.splitlines() for block in "\n".join(lines).split("\n\n")]
    assert len(blocks) == (1 if columns == 80 else 3)
    seen = [re.split(r"\s{2,}", line.strip()) for line in blocks[0]]
    for block in blocks[1:]:
        cells = [re.split(r"\s{2,}", line.strip()) for line in block]
        assert [row[0] for row in cells[1:]] == [row[0] for row in seen[1:]]
        seen = [[*a, *b[n > 0 :]] for n, (a, b) in enumerate(zip(seen, cells, strict=True))]
    assert seen == [re.split(r"\s{2,}", line.strip()) for line in whole[1:]]


def test_what_cannot_be_planned_is_told() -> None:
    for arguments, told in ((["--mem", "much"], "is not a size"), (["nobody"], "nobody")):
        result = CliRunner().invoke(cli, ["models", "plan", *arguments])
        assert result.exit_code != 0
        assert told in result.output + str(result.exception)
