"""`edge-audiokv devices`: the microphones that there are, and whether they hear anything; or what
the LLM can compute on.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click
from rich.table import Table

from edge_audiokv.cli import voice
from edge_audiokv.cli.command import Command
from edge_audiokv.cli.values import Number
from edge_audiokv.errors import DeviceError
from edge_audiokv.units import format_bytes


@click.command(cls=Command)
@click.option("--compute", is_flag=True, help="What the LLM can compute on, not microphones.")
@click.option("--json", "as_json", is_flag=True, help="One JSON list instead of a table.")
@click.option(
    "--level",
    "level_s",
    type=Number(0.1, 60),
    metavar="SECONDS",
    help="Listen SECONDS to each; show dB.",
)
def devices(compute: bool, as_json: bool, level_s: float | None) -> None:
    """List the microphones. Use a number or a part of the name with listen --device; with
    --compute, list what the option --compute of other commands takes.

    \b
    Examples:
      edge-audiokv devices --level 2
      edge-audiokv devices --json
      edge-audiokv devices --compute
    """
    if compute:
        if level_s is not None:
            raise click.UsageError("--level is about microphones: leave it or --compute out.")
        _list_compute(as_json)
        return
    from edge_audiokv.audio.live.microphone import MicrophoneSource, hear_level
    from edge_audiokv.audio.live.portaudio import PortAudio

    rows = []
    for device in PortAudio().inputs():
        row: dict[str, object] = asdict(device)
        if level_s is not None:
            try:
                level = hear_level(MicrophoneSource(device.index), level_s)
                row["peak_dbfs"] = round(level.peak_dbfs, 1)
            except DeviceError as error:
                row["error"] = error.what
        rows.append(row)
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    if not rows:
        raise DeviceError(
            "No microphone was found.",
            cure="Plug one in, and check that this user may record (group audio on Linux).",
        )
    table = Table("", "number", "name", "system", "channels", "rate", box=None)
    if level_s is not None:
        table.add_column("peak")
    for row in rows:
        cells = [
            "*" if row["is_default"] else "",
            str(row["index"]),
            str(row["name"]),
            str(row["host_api"]),
            str(row["channels"]),
            f"{row['rate_hz']} Hz",
        ]
        if level_s is not None:
            cells.append(str(row["error"]) if "error" in row else f"{row['peak_dbfs']} dB")
        table.add_row(*cells)
    voice.console(sys.stdout).print(table)


def _list_compute(as_json: bool) -> None:
    from edge_audiokv.native.compute import compute_devices

    found = compute_devices()
    if as_json:
        click.echo(json.dumps([device.facts() for device in found], indent=2, ensure_ascii=False))
        return
    table = Table("name", "kind", "free", "total", "description", box=None)
    for device in found:
        sizes = (device.free_bytes, device.total_bytes)
        memory = [format_bytes(size) if size else "-" for size in sizes]
        table.add_row(device.name, device.kind, *memory, device.description)
    voice.console(sys.stdout).print(table)
