"""`edge-audiokv doctor`: is everything here that listening needs, and if not, what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource

from edge_audiokv.cli import voice
from edge_audiokv.cli.command import Command
from edge_audiokv.cli.machine import checks
from edge_audiokv.cli.machine.checks import Check, run_check
from edge_audiokv.cli.options import engine_options, settings_from, variables
from edge_audiokv.cli.values import Share
from edge_audiokv.cli.wording import as_flags

_SOURCES = {
    ParameterSource.COMMANDLINE: "command line",
    ParameterSource.ENVIRONMENT: "environment",
}


@click.command(cls=Command)
@engine_options
@click.option("--no-mic", is_flag=True, help="Do not look for a microphone.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(ctx: click.Context, /, no_mic: bool, as_json: bool, **values: Any) -> None:
    """Look at this machine: native library, model, memory, microphone.

    Nothing is fetched. The session is loaded once for real, so that the sum for --mem is measured;
    half a second of the microphone is heard and thrown away. The exit code is that of the first
    problem, 0 if there is none; each problem comes with its cure.

    \b
    Examples:
      edge-audiokv doctor
      edge-audiokv doctor --mem 600MB --no-mic
      edge-audiokv doctor --json
    """
    settings = _winners(ctx)
    engine = settings_from(values)
    found = [
        run_check("program", checks.program),
        run_check("environment", lambda facts: checks.environment(facts, _variables(ctx))),
        Check("settings", settings),
        run_check("onnxruntime", lambda facts: checks.onnxruntime(facts, engine.provider)),
        run_check("native library", lambda facts: checks.native(facts, engine)),
        run_check("model", lambda facts: checks.model(facts, engine.model)),
    ]
    if all(check.problem is None for check in found[-2:]):
        hears = not no_mic
        found.append(
            run_check("memory", lambda facts: checks.memory(facts, engine, microphone=hears))
        )
    if not no_mic:
        found.append(run_check("microphone", checks.microphone))
    code = next((check.problem.exit_code for check in found if check.problem), 0)
    if as_json:
        document = {"exit_code": code, "checks": [check.to_dict() for check in found]}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        for check in found:
            _print(check)
        wrong = [check.name for check in found if check.problem is not None]
        # The rest may have scrolled away.
        voice.tell(f"what to mend: {', '.join(wrong)}; see above" if wrong else "all is well")
    ctx.exit(code)


def _winners(ctx: click.Context) -> dict[str, Any]:
    """Each engine option with its value and who set it."""
    facts = {}
    for param in ctx.command.params:
        name = str(param.name)
        if name in ("no_mic", "as_json") or name not in ctx.params:
            continue
        source = ctx.get_parameter_source(name)
        winner = _SOURCES.get(source, "default") if source is not None else "default"
        facts[max(param.opts, key=len)] = f"{_shown(param, ctx.params[name])} ({winner})"
    return facts


def _shown(param: click.Parameter, value: Any) -> str:
    """`value` as it is typed."""
    if isinstance(param.type, Share) and isinstance(value, float):
        return f"{100 * value:g}%"
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return "automatic" if value is None else str(value)


def _variables(ctx: click.Context) -> list[str]:
    """The environment variables that options of any command read."""
    root = ctx.find_root()
    group = root.command
    if not isinstance(group, click.Group):
        return []
    own = (max(param.opts, key=len) for param in voice.options())
    names = [f"EDGE_AUDIOKV_{option.strip('-').replace('-', '_').upper()}" for option in own]
    for command_name in group.list_commands(root):
        try:
            command = group.get_command(root, command_name)
        except ImportError:
            # A command whose extra is not installed has no say here.
            continue
        names += variables(command) if command is not None else []
    return names


def _print(check: Check) -> None:
    voice.tell(f"{'ok' if check.problem is None else 'PROBLEM':<8}{check.name}")
    for name, value in check.facts.items():
        if isinstance(value, Mapping):
            voice.tell(f"        {name}")
            for part, size in value.items():
                voice.tell(f"          {part:<26}{size:>12}")
            continue
        shown = ", ".join(value) if isinstance(value, list) else value
        voice.tell(f"        {name:<22}  {shown}")
    if check.problem is not None:
        voice.tell(f"        {as_flags(check.problem.what)}")
        voice.tell(f"        -> {as_flags(check.problem.cure)}")
