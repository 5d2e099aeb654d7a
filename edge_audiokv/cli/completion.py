"""`edge-audiokv completion`: what makes a shell complete commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from edge_audiokv.cli.command import Command

PROGRAM = "edge-audiokv"
VARIABLE = "_EDGE_AUDIOKV_COMPLETE"


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options and names.

    It goes into ~/.bashrc or ~/.zshrc as it stands below, or into fish's folder of completions.

    \b
    Examples:
      eval "$(edge-audiokv completion bash)"
      eval "$(edge-audiokv completion zsh)"
      edge-audiokv completion fish > ~/.config/fish/completions/edge-audiokv.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    click.echo(kind(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
