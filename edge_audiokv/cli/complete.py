"""What Tab offers beside options and choices: policies, models, files."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

import click
from click.shell_completion import CompletionItem

# More would not be read, and a folder may hold thousands.
_MOST_LOCAL = 50
_PLAIN = re.compile(r"[\w.+@%-]+")


def policies(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """KV policies, with what they do."""
    from edge_audiokv.kv.describe import summary
    from edge_audiokv.kv.policy import policies as known

    return [
        CompletionItem(name, help=summary(cls))
        for name, cls in known().items()
        if name.startswith(incomplete)
    ]


def models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Models of the catalog, and folders here that hold one; any folder once a path is begun."""
    from edge_audiokv.models import catalog

    if "/" in incomplete or incomplete.startswith(("~", ".")):
        return files(ctx, param, incomplete)
    found = [CompletionItem(entry.name, help=entry.summary) for entry in catalog.list_models()]
    local = islice(Path().glob(f"*/{catalog.TOML_NAME}"), _MOST_LOCAL)
    # Shells put it on the line as it is: `$(...)` or a line break would be more than a name.
    found += [
        CompletionItem(f"./{path.parent}", help="a folder here")
        for path in sorted(local)
        if _PLAIN.fullmatch(path.parent.name)
    ]
    return [item for item in found if item.value.removeprefix("./").startswith(incomplete)]


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files and folders, by the shell's own means."""
    return [CompletionItem(incomplete, type="file")]
