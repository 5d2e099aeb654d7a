"""`edge-audiokv models plan`: how much speech a model will remember under a cap."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from edge_audiokv.cli import complete, voice
from edge_audiokv.cli.command import Command
from edge_audiokv.cli.options import Share
from edge_audiokv.units import format_bytes, parse_bytes

if TYPE_CHECKING:
    from edge_audiokv.engine.outlook import Outlook, Remembering

_CAPS = "2GB,4GB,6GB,12GB"
_CELL = 12


@click.command("plan", cls=Command)
@click.argument("names", nargs=-1, metavar="[MODEL]...", shell_complete=complete.models)
@click.option("--mem", default=_CAPS, show_default=True, metavar="CAP,...", help="Caps to look at.")
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
def command(names: tuple[str, ...], mem: str, share: float, kv_type: str, as_json: bool) -> None:
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
    from edge_audiokv.engine.outlook import Remembering
    from edge_audiokv.kv.policy import make_policy
    from edge_audiokv.models.sizes import PUBLIC_MODELS

    caps, policy = _caps(mem), make_policy("audiokv-edge")
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
    head = [f"{part.strip():>{_CELL}}" for part in mem.split(",")]
    voice.tell(f"Minutes of speech remembered: all rows / {share:.0%} of them.")
    voice.tell(f"{'':<23} {'loaded':>9}{''.join(head)}")
    for model, cells in rows:
        size = format_bytes(sum(model.parts.values()))
        voice.tell(f"{model.name[:23]:<23} {size:>9}{''.join(map(_cell, cells))}".rstrip())


def _cell(pair: tuple[Outlook, ...]) -> str:
    if not pair[0].kv_bytes:
        return f"{'-':>{_CELL}}"
    return f"{' / '.join(f'{each.remembered_s / 60:.0f}' for each in pair):>{_CELL}}"


def _caps(text: str) -> list[int]:
    try:
        return [parse_bytes(part) for part in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--mem'") from None


def _local(name: str) -> Remembering:
    from edge_audiokv.engine.outlook import Remembering
    from edge_audiokv.errors import ModelError
    from edge_audiokv.models import catalog, download

    entry = catalog.resolve(name)
    if not download.is_present(entry):
        raise ModelError(
            f"files of {entry.name} are not here.",
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
