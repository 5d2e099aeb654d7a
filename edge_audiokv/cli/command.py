"""Commands and groups of ours: help in groups, examples at its end, -q, -v and --no-color.

Examples are the last block of a docstring:

    \b
    Examples:
      edge-audiokv doctor
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

import click

from edge_audiokv.cli import voice

# Options that are not named here are the command's own affair and stand first.
HEADINGS = {
    "Common options": (),
    "Memory and policy": (
        *("--kv-policy", "--kv-budget", "--kv-option"),
        *("--cache-type-k", "--cache-type-v"),
        *("--kv-types", "--policies", "--budgets", "--sessions"),
    ),
    "Output": (
        *("--output-dir", "--overwrite", "--save-audio", "--archive", "--json"),
        *("--word-timestamps", "--plain-text", "--max-line-chars", "--max-lines", "--max-cue-s"),
        *("--plot", "--report"),
        *("--quiet", "--verbose", "--no-color"),
    ),
    "Expert": (
        *("--queue", "--max-upload", "--max-audio-s"),
        *("--context", "--max-segment-s", "--silence-ms", "--raw", "--realtime", "--no-partials"),
        *("--word-weight", "--branches", "--threads", "--provider"),
        *("--compute", "--gpu-layers", "--gpu-mem", "--kv-device"),
        *("--seed", "--turns", "--tries", "--depths", "--speech-share", "--whole-clips"),
        *("--loss-clips", "--loss-seconds", "--low-share", "--min-confidence", "--fresh"),
        *("--quants-dir", "--fail-above"),
    ),
}
# Fewer are read at a glance.
_ONE_GROUP = 8
_EXAMPLES = re.compile(r"\n*^\x08\nExamples:\n((?:[ ].*\n?)+)", re.M)
_HEADING_OF = {option: heading for heading, options in HEADINGS.items() for option in options}


_NO_BREAK = "\u2011"  # a hyphen that ends no line


class _Formatter(click.HelpFormatter):
    """Breaks no name at its hyphen, so that options and defaults can be copied."""

    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", _NO_BREAK))

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        kept = [(name, text.replace("-", _NO_BREAK)) for name, text in rows]
        super().write_dl(kept, col_max, col_spacing)

    def getvalue(self) -> str:
        return super().getvalue().replace(_NO_BREAK, "-")


class _Context(click.Context):
    formatter_class = _Formatter


class _Ours(click.Command):
    """What commands and groups have in common. `examples` are lines to paste."""

    context_class = _Context

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params += voice.options()
        text = inspect.cleandoc(self.help or "")
        found = _EXAMPLES.search(text)
        self.examples: list[str] = []
        if found is not None:
            self.examples = inspect.cleandoc(found[1]).splitlines()
            text = "\n\n".join(filter(None, (text[: found.start()], text[found.end() :].lstrip())))
        self.help = text

    def invoke(self, ctx: click.Context) -> Any:
        voice.use(voice.asked(ctx))
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in HEADINGS}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            # Arguments stand in the line of usage, and in the text.
            if record is not None and isinstance(param, click.Option):
                groups[heading_of(param)].append(record)
        if sum(map(len, groups.values())) <= _ONE_GROUP:
            groups = {"Options": [record for group in groups.values() for record in group]}
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                indent = " " * formatter.current_indent
                formatter.write("".join(f"{indent}{line}\n" for line in self.examples))


class Command(_Ours):
    """A command of ours."""


class Group(_Ours, click.Group):
    """A group of ours, and what it holds is ours."""

    command_class = Command
    group_class = type

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib  # for who mistypes

            names = self.list_commands(ctx)
            close = difflib.get_close_matches(args[0], names, 1)
            meant = f" Did you mean {close[0]}?" if close else ""
            raise click.UsageError(
                f"{error.message}{meant} The commands are: {', '.join(names)}.", ctx
            ) from None


def heading_of(param: click.Parameter) -> str:
    """Under which heading a help shows it."""
    return _HEADING_OF.get(max(param.opts, key=len), next(iter(HEADINGS)))
