"""`edge-audiokv policies`: how cache rows can be chosen, and the options of each way."""

from __future__ import annotations

import inspect
import json
import shutil
from dataclasses import fields
from typing import Any

import click

from edge_audiokv.kv.policy import Policy
from edge_audiokv.kv.policy import policies as all_policies

_NAME_CELLS = 20


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def policies(name: str | None, as_json: bool) -> None:
    """List the eviction policies, or describe one of them with its options.

    Numbers such as 2404.14469 are papers on arXiv.

    \b
    Examples:
      edge-audiokv policies
      edge-audiokv policies audiokv-edge
      edge-audiokv transcribe talk.flac --kv-policy snapkv --kv-budget 40%
    """
    known = all_policies()
    if name is not None and name not in known:
        raise click.BadParameter(f"{name!r}; choose from {', '.join(known)}", param_hint="NAME")
    facts = {key: _facts(cls) for key, cls in known.items() if name in (None, key)}
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for key, fact in facts.items():
        if name is None:
            hanging = " " * _NAME_CELLS
            click.echo(
                click.wrap_text(
                    f"{key:<{_NAME_CELLS}}{fact['summary']}",
                    width=min(shutil.get_terminal_size((100, 24)).columns, 100),
                    subsequent_indent=hanging,
                )
            )
            continue
        click.echo(f"{key}\n\n{fact['description']}\n\nOptions (--kv-option NAME=VALUE)")
        for option, default in fact["options"].items():
            click.echo(f"  {option:<16}{default}")


def _facts(cls: type[Policy]) -> dict[str, Any]:
    module = inspect.getmodule(cls)
    text = inspect.cleandoc((module.__doc__ if module else None) or cls.__doc__ or "")
    # Each begins with a paragraph "name: what it does (paper)"; the name stands before it already.
    summary = " ".join(text.split("\n\n")[0].split()).removeprefix(f"{cls.name}: ")
    return {
        "summary": summary,
        "description": text.removeprefix(f"{cls.name}: "),
        "needs": sorted(cls.needs),
        "options": {field.name: field.default for field in fields(cls) if field.name != "profile"},
    }
