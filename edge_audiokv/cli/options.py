"""Options that several commands share, and how they become settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from edge_audiokv.cli import complete, voice
from edge_audiokv.cli.values import Layers, NameAndValue, Number, Share, Size
from edge_audiokv.engine.settings import DEFAULT_MEM, KV_DEVICES, EngineSettings
from edge_audiokv.kv.placements import DEFAULT_PLACEMENT, PLACEMENTS
from edge_audiokv.native.threads import usable_cores
from edge_audiokv.output import FORMATS, SUBTITLES, CueRules

Command = TypeVar("Command", bound=Callable[..., Any])


class EngineOption(click.Option):
    """An option that EDGE_AUDIOKV_<OPTION> sets for all commands, after the command's own name."""

    @property
    def shared_envvar(self) -> str:
        return f"EDGE_AUDIOKV_{_variable_name(self)}"

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        return super().resolve_envvar_value(ctx) or os.environ.get(self.shared_envvar) or None


def name_variables(command: click.Command, prefix: str) -> None:
    """Let each option, of sub-commands too, be set by `prefix` and its own long name.

    By itself click takes the name of the Python argument: FORMAT_NAME where people type --format.
    """
    for param in command.params:
        if isinstance(param, click.Option):
            param.envvar = f"{prefix}_{_variable_name(param)}"
            param.allow_from_autoenv = False
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            name_variables(child, f"{prefix}_{name.upper().replace('-', '_')}")


def variables(command: click.Command) -> list[str]:
    """Every variable that the options of a command, and of its sub-commands, read."""
    names = []
    for param in command.params:
        if isinstance(param.envvar, str):
            names.append(param.envvar)
        if isinstance(param, EngineOption):
            names.append(param.shared_envvar)
    children = command.commands.values() if isinstance(command, click.Group) else ()
    return names + [name for child in children for name in variables(child)]


def name_source(error: click.BadParameter) -> None:
    """Let an error name the variable that a wrong value came from, not an option nobody typed."""
    param, ctx = error.param, error.ctx
    if param is None and ctx is not None:  # a command said it itself
        param = next((each for each in ctx.command.params if error.param_hint in each.opts), None)
    if param is None or ctx is None or param.name is None:
        return
    if ctx.get_parameter_source(param.name) is not ParameterSource.ENVIRONMENT:
        return
    names = [param.envvar] if isinstance(param.envvar, str) else [*(param.envvar or ())]
    if isinstance(param, EngineOption):
        names.append(param.shared_envvar)
    if ctx.auto_envvar_prefix is not None:  # as of the program's own options
        names.append(f"{ctx.auto_envvar_prefix}_{param.name.upper()}")
    name = next((name for name in names if os.environ.get(name)), None)
    if name is not None:
        error.param_hint = f"{name} ({max(param.opts, key=len)})"


def _variable_name(option: click.Option) -> str:
    return max(option.opts, key=len).strip("-").replace("-", "_").upper()


_option = partial(click.option, cls=EngineOption)


def engine_options(command: Command) -> Command:
    """Add the options of EngineSettings to a command; `settings_from` reads them back."""
    for option in reversed(_engine_options().values()):
        command = option(command)
    return command


def some_engine_options(*names: str) -> Callable[[Command], Command]:
    """Add those of `engine_options` that set the fields `names`, in their order."""

    def add(command: Command) -> Command:
        options = _engine_options()
        for name in reversed(names):
            command = options[name](command)
        return command

    return add


def _engine_options() -> dict[str, Callable[[Command], Command]]:
    """The option of each field of EngineSettings that people set."""
    return {
        "model": _option(
            "-m",
            "--model",
            default="smollm2-audio",
            show_default=True,
            metavar="NAME|DIR",
            shell_complete=complete.models,
            help="A model of `edge-audiokv models list`, or a directory with a model.toml.",
        ),
        "mem": _option(
            "--mem",
            type=Size(),
            default=DEFAULT_MEM,
            show_default=True,
            help="Cap on the whole process: 4GB, 2GiB, 50%.",
        ),
        "kv_policy": _option(
            "--kv-policy",
            default="audiokv-edge",
            show_default=True,
            metavar="NAME",
            shell_complete=complete.policies,
            help="How cache rows are chosen; `edge-audiokv policies` lists them.",
        ),
        "kv_share": _option(
            "--kv-budget",
            "kv_share",
            type=Share(),
            default="100%",
            show_default=True,
            help="Share of the rows that stay in the cache.",
        ),
        "kv_options": _option(
            "--kv-option",
            "kv_options",
            type=NameAndValue(),
            multiple=True,
            metavar="NAME=VALUE",
            help="An option of the policy; repeatable.",
        ),
        "type_k": _option(
            "-ctk",
            "--cache-type-k",
            "type_k",
            type=click.Choice(["f16", "q8_0", "q4_0"]),
            default="f16",
            show_default=True,
            help="Type of the key rows.",
        ),
        "type_v": _option(
            "-ctv",
            "--cache-type-v",
            "type_v",
            type=click.Choice(["f16", "q8_0", "q4_0"]),
            default="f16",
            show_default=True,
            help="Type of the value rows.",
        ),
        "word_weight": _option(
            "--word-weight",
            type=Number(0, 10),
            help="How much the encoder's own words count; default: the model's, 0: LLM alone.",
        ),
        "branches": _option(
            "--branches",
            type=click.IntRange(0, 64),
            default=0,
            show_default=True,
            help="Close calls of a final text to decide the other way, too; 0: greedy, fastest.",
        ),
        "language": _option(
            "--language",
            metavar="CODE",
            help="What is spoken: en, German; refused if the model does not know it.",
        ),
        "hotwords": _option(
            "--hotwords",
            default="",
            metavar="WORDS",
            help='Names that may be said, spelt so: "Argyle, Skelton"; each takes a little time.',
        ),
        "threads": _option(
            "-t",
            "--threads",
            type=click.IntRange(1, 64),
            help="Threads; default: physical cores, at most 4.",
        ),
        "provider": _option(
            "--provider",
            type=click.Choice(["cpu", "cuda", "tensorrt", "coreml"]),
            default="cpu",
            show_default=True,
            help="Where the encoder runs.",
        ),
        "compute": _option(
            "--compute",
            metavar="cpu|auto|NAME",
            help="What the LLM runs on; `edge-audiokv devices --compute` lists it; default: cpu.",
        ),
        "gpu_layers": _option(
            "-ngl",
            "--gpu-layers",
            type=Layers(),
            help="Layers of the LLM on a device: a number, all, or auto, as many as fit.",
        ),
        "gpu_mem": _option(
            "--gpu-mem",
            type=Size(),
            help="Cap on a device's own memory; default: what is free there, less a margin.",
        ),
        "kv_device": _option(
            "--kv-device",
            type=click.Choice(KV_DEVICES),
            default="auto",
            show_default=True,
            help="Where the cache lies: auto, beside the layers if all are on a device, or cpu.",
        ),
    }


def result_options(command: Command) -> Command:
    """Add `--format`, `-o` and what results hold, of every command that writes a transcript."""
    rules = CueRules()
    options = [
        click.option(
            "-f",
            "--format",
            "format_name",
            type=click.Choice(list(FORMATS)),
            default=None,
            help="Format of the result; default: what the name of -o stands for, else text.",
        ),
        click.option(
            "-o",
            "--output",
            default="-",
            show_default=True,
            metavar="FILE",
            shell_complete=complete.files,
            help="Where it goes.",
        ),
        click.option(
            "--word-timestamps",
            is_flag=True,
            help="Each word with its times and confidence, in json and jsonl.",
        ),
        click.option(
            "--translate",
            metavar="LANGUAGE",
            help="Write a translation: en, German; refused if the model has no way of its own.",
        ),
        click.option(
            "--plain-text",
            is_flag=True,
            help="Words alone: no capitals and no marks.",
        ),
        click.option(
            "--max-line-chars",
            type=click.IntRange(10, 500),
            default=rules.max_line_chars,
            show_default=True,
            help="Longest line of a subtitle.",
        ),
        click.option(
            "--max-lines",
            type=click.IntRange(1, 10),
            default=rules.max_lines,
            show_default=True,
            help="Lines of a subtitle.",
        ),
        click.option(
            "--max-cue-s",
            type=Number(2, 60),
            default=rules.max_cue_s,
            show_default=True,
            help="Longest time that a subtitle is seen.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def segment_option(default_s: float) -> Callable[[Command], Command]:
    """Add `--max-segment-s`."""
    return click.option(
        "--max-segment-s",
        type=Number(2, 30),
        default=default_s,
        show_default=True,
        help="Longest stretch decoded at once; longer speech is split at its quietest point.",
    )


def placement_option(command: Command) -> Command:
    """Add `--placement` to a command that remembers."""
    return click.option(
        "--placement",
        type=click.Choice(PLACEMENTS),
        default=DEFAULT_PLACEMENT,
        show_default=True,
        help="When positions run out: the oldest rows go (drop), or all close up so that only their"
        " order is left (order), or the more the older they are (log).",
    )(command)


def recall_option(command: Command) -> Command:
    """Add `--recall` to a command that answers."""
    return click.option(
        "--recall/--no-recall",
        default=True,
        show_default=True,
        help="For a question, bring back what was said with its words, however long ago.",
    )(command)


def archive_option(command: Command) -> Command:
    """Add `--archive` to a command that hears."""
    return click.option(
        "--archive",
        "archive_path",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Keep what is said, with its times, in this file, too; `archive` searches it.",
    )(command)


def fit_format(
    format_name: str, settings: EngineSettings, values: dict[str, Any]
) -> tuple[EngineSettings, dict[str, Any]]:
    """What a format needs of the engine, and the options of its writer; takes those of
    `result_options` out of `values`.
    """
    names = ("max_line_chars", "max_lines", "max_cue_s")
    rules = CueRules(**{name: values.pop(name) for name in names})
    if format_name not in SUBTITLES:
        return settings, {}
    # Subtitles are cut between words.
    return replace(settings, word_timestamps=True), {"rules": rules}


def settings_from(values: dict[str, Any]) -> EngineSettings:
    """EngineSettings from a command's keyword arguments; takes its own out of `values`."""
    names = ["model", "mem", "kv_policy", "kv_share", "type_k", "type_v"]
    names += ["word_weight", "branches", "threads", "provider", "language", "hotwords"]
    names += ["compute", "gpu_layers", "gpu_mem", "kv_device"]
    options = dict(values.pop("kv_options"))
    threads, cores = values["threads"], usable_cores()
    if threads is not None and threads > cores:
        # ggml's threads wait for each other at every step: with more than cores nothing goes on.
        voice.warn(f"--threads {threads} is more than the {cores} cores here.")
    return EngineSettings(
        kv_options=options,
        # Only of commands that write a transcript.
        word_timestamps=values.pop("word_timestamps", False),
        plain_text=values.pop("plain_text", False),
        translate=values.pop("translate", None),
        **{name: values.pop(name) for name in names},
    )
