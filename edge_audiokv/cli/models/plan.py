"""`edge-audiokv models plan`: how much speech a model will remember under a cap."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from edge_audiokv.cli import complete, voice
from edge_audiokv.cli.command import Command
from edge_audiokv.cli.values import Share
from edge_audiokv.engine.settings import LEAST_CAP_BYTES
from edge_audiokv.output.fold import columns_of
from edge_audiokv.units import format_bytes, parse_bytes

if TYPE_CHECKING:
    from edge_audiokv.engine.memory.outlook import Outlook, Remembering

_CAPS = "2GB,4GB,6GB,12GB"
_MOST_NAME_CHARS = 23
_GAP = "  "


class Caps(click.ParamType[tuple[str, ...]]):
    """Sizes with commas between them."""

    name = "caps"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        caps = tuple(part.strip() for part in str(value).split(","))
        try:
            for cap in caps:
                parse_bytes(cap, least_bytes=LEAST_CAP_BYTES)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return caps


@click.command("plan", cls=Command)
@click.argument("names", nargs=-1, metavar="[MODEL]...", shell_complete=complete.models)
@click.option(
    "--mem",
    type=Caps(),
    default=_CAPS,
    show_default=True,
    metavar="CAP,...",
    help="Caps to look at.",
)
@click.option(
    "--kv-budget",
    "share",
    type=Share(),
    default="40%",
    show_default=True,
    help="Share of the rows that is kept, beside keeping all.",
)
@click.option(
    "--kv-type",
    type=click.Choice(["f16", "q8_0"]),
    default="f16",
    show_default=True,
    help="Type of the rows.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    names: tuple[str, ...], mem: tuple[str, ...], share: float, kv_type: str, as_json: bool
) -> None:
    """Say how many minutes of speech fit under --mem.

    Nothing is loaded for it. MODEL is one of `edge-audiokv models list` or a folder, whose files
    are here; without one the public audio LLMs that `models convert` knows are looked at, at Q4_K_M
    with an encoder of int8.
    Minutes are of speech with its text, with all rows kept and with --kv-budget.
    Estimates: what is measured after loading decides.

    \b
    Examples:
      edge-audiokv models plan
      edge-audiokv models plan smollm2-audio ./qwen3-asr --mem 1GB,2GB
    """
    from edge_audiokv.engine.memory.outlook import Remembering
    from edge_audiokv.kv.policy import make_policy
    from edge_audiokv.models.sizes import PUBLIC_MODELS

    caps, policy = [parse_bytes(cap) for cap in mem], make_policy("audiokv-edge")
    looked_at = [_local(name) for name in names] or [
        Remembering.of_public(model) for model in PUBLIC_MODELS
    ]
    rows = [
        (
            model,
            [
                tuple(
                    model.under(cap, share=kept, policy=policy, type_k=kv_type, type_v=kv_type)
                    for kept in (1.0, share)
                )
                for cap in caps
            ],
        )
        for model in looked_at
    ]
    if as_json:
        click.echo(json.dumps([_document(*row, caps, share) for row in rows], indent=2))
        return
    sizes = [format_bytes(sum(model.parts.values())) for model, _ in rows]
    columns = [("loaded", *sizes)]
    columns += [(cap, *(_cell(row[1][at]) for row in rows)) for at, cap in enumerate(mem)]
    voice.tell(f"Minutes of speech remembered: all rows / {share:.0%} of them.")
    for line in _lines(["", *(model.name for model, _ in rows)], columns, columns_of(sys.stdout)):
        voice.tell(line)


def _lines(
    names: Sequence[str], columns: Sequence[Sequence[str]], most_chars: int | None
) -> Iterator[str]:
    """A table with a line a name, and below it another with the columns that it has no room for."""
    lines = names = [name[:_MOST_NAME_CHARS] for name in names]
    wide = max(map(len, names))
    lines = names = [f"{name:<{wide}}" for name in names]
    for column in columns:
        wide = max(map(len, column))
        # A terminal's last column stays free.
        if (
            lines is not names
            and most_chars is not None
            and len(lines[0]) + len(_GAP) + wide >= most_chars
        ):
            yield from lines
            yield ""
            lines = names
        lines = [f"{line}{_GAP}{cell:>{wide}}" for line, cell in zip(lines, column, strict=True)]
    yield from lines


def _cell(pair: tuple[Outlook, ...]) -> str:
    if not pair[0].kv_bytes:
        return "-"
    return " / ".join(f"{each.remembered_s / 60:.0f}" for each in pair)


def _local(name: str) -> Remembering:
    from edge_audiokv.engine.memory.outlook import Remembering
    from edge_audiokv.errors import ModelError
    from edge_audiokv.models import catalog, download

    entry = catalog.resolve(name)
    if not download.is_present(entry):
        raise ModelError(
            f"Files of {entry.name} are not here.",
            cure=f"Run: edge-audiokv models pull {entry.name}",
        )
    from edge_audiokv.native.probe import check_in_child

    return Remembering.of_local(download.ensure(entry, check=check_in_child))


def _document(
    model: Remembering, cells: list[tuple[Outlook, ...]], caps: list[int], share: float
) -> dict[str, object]:
    return {
        "name": model.name,
        "parts_bytes": model.parts,
        "caps": [
            {
                "cap_bytes": cap,
                "remembered_s": [round(each.remembered_s, 1) for each in pair],
                "kv_shares": [1.0, share],
                "kv_bytes": [each.kv_bytes for each in pair],
                "least_cap_bytes": pair[0].least_cap_bytes or None,
            }
            for cap, pair in zip(caps, cells, strict=True)
        ],
    }
