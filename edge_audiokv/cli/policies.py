"""`edge-audiokv policies`: how cache rows can be chosen, and the options of each way."""

from __future__ import annotations

import json
import re
import shutil
from typing import Any

import click

from edge_audiokv.cli import complete
from edge_audiokv.cli.command import Command
from edge_audiokv.kv.describe import Described, description, options, summary
from edge_audiokv.kv.policy import Policy, find_policy
from edge_audiokv.kv.policy import policies as all_policies

_NAME_CELLS = 20


@click.command(cls=Command)
@click.argument("name", required=False, shell_complete=complete.policies)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def policies(name: str | None, as_json: bool) -> None:
    """List the eviction policies, or describe one: when to choose it, and every option.

    Numbers such as 2404.14469 are papers on arXiv.

    \b
    Examples:
      edge-audiokv policies
      edge-audiokv policies audiokv-edge
      edge-audiokv transcribe talk.flac --kv-policy snapkv --kv-budget 40%
    """
    known = all_policies() if name is None else {name: find_policy(name)}
    facts = {key: _facts(cls) for key, cls in known.items()}
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    elif name is not None:
        click.echo("\n".join(_page(name, known[name])))
    else:
        for key, fact in facts.items():
            click.echo(_wrapped(f"{key:<{_NAME_CELLS}}{fact['summary']}", _NAME_CELLS))


def _page(name: str, cls: type[Policy]) -> list[str]:
    """Everything about one policy, for people."""
    lines = [name, "", *_reflowed(description(cls))]
    if cls.choose_when:
        lines += ["", "When to choose it", _wrapped(f"  {cls.choose_when}", 2)]
    found = options(cls)
    lines += ["", "Options (--kv-option NAME=VALUE)" if found else "It has no options."]
    for item in found:
        limits = f"; {item.range}" if item.range else ""
        lines.append(f"  {item.name:<{_NAME_CELLS - 2}}{item.default}{limits}")
        if item.words:
            indent = " " * _NAME_CELLS
            lines.append(_wrapped(indent + item.words, _NAME_CELLS))
    return lines


def _reflowed(text: str) -> list[str]:
    """Paragraphs, and their items, as wide as the terminal."""
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        lines += [""] if lines else []
        for item in re.split(r"\n(?=- )", paragraph):
            lines.append(_wrapped(" ".join(item.split()), 2 if item.startswith("- ") else 0))
    return lines


def _wrapped(text: str, indent: int) -> str:
    """`text` within the terminal; what does not fit into a line goes on below, indented."""
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    return click.wrap_text(
        text.lstrip(),
        width=width,
        initial_indent=text[: len(text) - len(text.lstrip())],
        subsequent_indent=" " * indent,
    )


def _facts(cls: type[Policy]) -> dict[str, Any]:
    found = options(cls)
    return {
        "summary": summary(cls),
        "description": description(cls),
        "choose_when": cls.choose_when,
        "needs": sorted(cls.needs),
        "options": {item.name: item.default for item in found},
        "option_words": {item.name: _words(item) for item in found},
    }


def _words(item: Described) -> dict[str, str]:
    return {"words": item.words, "range": item.range}
