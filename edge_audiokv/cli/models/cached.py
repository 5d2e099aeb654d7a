"""`edge-audiokv models` and `pull`: what is known, what is here, fetch it, delete it."""

from __future__ import annotations

import json
from typing import Any

import click

from edge_audiokv.cli import complete, voice
from edge_audiokv.cli.command import Command, Group
from edge_audiokv.cli.models import check, convert, plan
from edge_audiokv.models import catalog, download, emptying
from edge_audiokv.models.cache import cache_directory
from edge_audiokv.models.entry import ModelEntry
from edge_audiokv.models.progress import progress_bar
from edge_audiokv.units import format_bytes, printable

# Less than this are notes of what was verified.
_WORTH_A_WORD_BYTES = 1 << 20
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_name_argument = click.argument(
    "name",
    default=catalog.DEFAULT_MODEL,
    metavar="[MODEL]",
    shell_complete=complete.models,
)


@click.group(cls=Group)
def models() -> None:
    """List, fetch, convert, inspect and remove models.

    \b
    Examples:
      edge-audiokv models list
      edge-audiokv models pull smollm2-audio
      edge-audiokv models convert Qwen/Qwen3-ASR-0.6B-hf -o qwen3-asr

    A MODEL is a name of the list or a directory with a model.toml.
    EDGE_AUDIOKV_CACHE moves the cache; EDGE_AUDIOKV_OFFLINE=1 fetches nothing.
    """


@models.command("list")
@_json_option
def list_command(as_json: bool) -> None:
    """List the models that are known, and whether they are here.

    \b
    Examples:
      edge-audiokv models list
      edge-audiokv models list --json
    """
    entries = catalog.list_models()
    if as_json:
        click.echo(json.dumps([_summary(entry) for entry in entries], indent=2))
        return
    for entry in entries:
        mark = "*" if entry.name == catalog.DEFAULT_MODEL else " "
        size, missing_bytes = format_bytes(entry.size_bytes), download.missing_bytes(entry)
        if missing_bytes:
            size += f", {format_bytes(missing_bytes)} to fetch"
        voice.tell(f"{mark} {entry.name:<20} {_state(entry):<12} {size}")
        voice.tell(f"    {entry.summary}")


@models.command("show")
@_name_argument
@_json_option
def show_command(name: str, as_json: bool) -> None:
    """Show a model's files, licences, prompt and figures.

    \b
    Examples:
      edge-audiokv models show
      edge-audiokv models show smollm2-audio --json
    """
    entry = catalog.resolve(name)
    facts = _facts(entry)
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    for name, value in _shown(facts).items():
        voice.tell(f"{name:<14} {value}")
    for file in facts["files"]:
        here = "here" if file["present"] else "not here"
        size = format_bytes(file["size_bytes"]) if file["size_bytes"] else "any size"
        voice.tell(f"{file['role']:<14} {size:>10}  {here:<9} {file['path']}")
        for label in ("source", "sha256", "licence"):
            if file[label]:
                voice.tell(f"{'':<14} {label:>10}: {file[label]}")


def _pull(name: str, as_json: bool) -> None:
    # Imported here: listing and removing do without the native library.
    from edge_audiokv.native.probe import check_in_child

    entry = catalog.resolve(name)
    if entry.status == "unverified":
        voice.warn(f"{entry.name} has not been verified by this project.")
    with progress_bar(voice.console()) as report:
        local = download.ensure(entry, whole=True, progress=report, check=check_in_child)
    if as_json:
        click.echo(json.dumps({**_facts(entry), "model_hash": local.model_hash}, indent=2))
    else:
        voice.tell(f"{entry.name} is ready ({format_bytes(entry.size_bytes)}).")


_PULL_HELP = """Fetch a model and verify every file by its SHA-256.

    What is already here is checked byte by byte and fetched again only if it is damaged; an
    interrupted fetch goes on.

    \b
    Examples:
      edge-audiokv models pull
      EDGE_AUDIOKV_CACHE=/media/usb edge-audiokv models pull smollm2-audio
    """


@models.command("pull", help=_PULL_HELP)
@_name_argument
@_json_option
def pull_command(name: str, as_json: bool) -> None:
    _pull(name, as_json)


@click.command("pull", cls=Command, help=_PULL_HELP)
@_name_argument
@_json_option
def pull(name: str, as_json: bool) -> None:
    _pull(name, as_json)


@models.command("rm")
@click.argument("name", required=False, metavar="[MODEL]", shell_complete=complete.models)
@click.option("--all", "everything", is_flag=True, help="Empty the cache: all that was fetched.")
@_json_option
@click.pass_context
def rm_command(ctx: click.Context, /, name: str | None, everything: bool, as_json: bool) -> None:
    """Delete what was fetched and made for a model.

    Files that ship with edge-audiokv, lie in your own directory or serve another model stay. With
    --all everything goes that was fetched or made for any model, and what the build of edge-audiokv
    has fetched, too: the sources of llama.cpp.

    \b
    Examples:
      edge-audiokv models rm smollm2-audio
      edge-audiokv models rm ./my-model --json
      edge-audiokv models rm --all
    """
    if (name is not None) == everything:
        raise click.UsageError("Name a MODEL, or give --all.", ctx)
    if name is None:
        what, freed_bytes = "cache", emptying.empty()
    else:
        entry = catalog.resolve(name)
        others = [other for other in catalog.list_models() if other.directory != entry.directory]
        what, freed_bytes = entry.name, download.remove(entry, others)
    if as_json:
        about = {"name": what} if name is not None else {}
        click.echo(json.dumps({**about, "freed_bytes": freed_bytes}))
        return
    if freed_bytes:
        voice.tell(f"{what}: {format_bytes(freed_bytes)} freed.")
    else:
        voice.tell(f"{what}: nothing of it was in the cache." if name else "cache: it was empty.")
    left_bytes = emptying.cached_bytes()
    if left_bytes >= _WORTH_A_WORD_BYTES:
        voice.note(
            f"{format_bytes(left_bytes)} that other models or the build have fetched are left in "
            f"{printable(str(cache_directory()))}; `edge-audiokv models rm --all` deletes them."
        )


models.add_command(check.command)
models.add_command(convert.command)
models.add_command(plan.command)


def _state(entry: ModelEntry) -> str:
    if entry.status == "unverified":
        return "unverified"
    return "ready" if download.is_present(entry) else "not fetched"


def _summary(entry: ModelEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "default": entry.name == catalog.DEFAULT_MODEL,
        "state": _state(entry),
        "present": download.is_present(entry),
        "size_bytes": entry.size_bytes,
        "missing_bytes": download.missing_bytes(entry),
        "languages": list(entry.languages),
        "summary": entry.summary,
    }


def _facts(entry: ModelEntry) -> dict[str, Any]:
    files = []
    for file in entry.files:
        path = download.local_path(entry, file)
        files.append(
            {
                "role": file.role,
                "path": str(path),
                "present": path.is_file(),
                "size_bytes": file.size_bytes,
                "sha256": file.sha256,
                "licence": file.licence,
                "source": file.package or file.url,
            }
        )
    return {
        **_summary(entry),
        "architecture": entry.architecture,
        "d_model": entry.d_model,
        "context_length_tokens": entry.context_length_tokens,
        "sample_rate_hz": entry.rule.sample_rate_hz,
        "tokens_per_second": entry.rule.tokens_per_second,
        "max_audio_s": entry.max_audio_s,
        "template": entry.prompt.template.replace("\n", "\\n"),
        "question": entry.prompt.question,
        "files": files,
    }


def _shown(facts: dict[str, Any]) -> dict[str, str]:
    """What a person reads of a model, beside its files."""
    size = format_bytes(facts["size_bytes"])
    if facts["missing_bytes"]:
        size += f", {format_bytes(facts['missing_bytes'])} to fetch"
    return {
        "model": facts["name"] + (" (the default)" if facts["default"] else ""),
        "about": facts["summary"],
        "state": facts["state"],
        "size": size,
        "languages": ", ".join(facts["languages"]) or "not stated",
        "LLM": f"{facts['architecture']}, {facts['d_model']} wide, "
        f"{facts['context_length_tokens']} positions",
        "sound": f"{facts['sample_rate_hz']} Hz, {facts['tokens_per_second']:g} tokens a second, "
        f"at most {facts['max_audio_s']:g} s at once",
        "template": facts["template"],
        "question": facts["question"],
    }
