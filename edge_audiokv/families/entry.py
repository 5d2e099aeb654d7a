"""The model.toml of what was converted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_audiokv.families.plan import Plan
from edge_audiokv.models.cache import file_sha256
from edge_audiokv.models.source import Source
from edge_audiokv.units import clipped, printable

_RATE_HZ = 16_000
_MOST_SUMMARY_CHARS = 200


@dataclass(frozen=True)
class Written:
    """A file of the new model: its role in model.toml, and whose licence it is under. Its hash is
    taken where it is not known yet.
    """

    role: str
    path: Path
    licence: str
    sha256: str = ""


def entry_text(
    plan: Plan,
    name: str,
    files: list[Written],
    *,
    architecture: str,
    max_tokens: int,
    encoder_bytes: Sequence[tuple[float, int]] = (),
    source: Source | None = None,
) -> str:
    """The TOML of a model. Raises OSError if a file cannot be read for its hash."""
    sound, wording = plan.sound, plan.wording
    config = plan.language.config
    lines = [
        f"# Made by `edge-audiokv models convert` from a checkpoint of {plan.family}.",
        f"name = {_text(name)}",
        f"summary = {_text(_summary(plan, source))}",
        f"languages = [{', '.join(map(_text, plan.languages))}]",
        'status = "unverified"',
        "",
        "[audio]",
        f"sample_rate_hz = {_RATE_HZ}",
        f"tokens_per_second = {sound.tokens_per_second!r}",
        f'token_rule = "{sound.token_rule}"',
    ]
    if sound.block_s is not None:
        lines.append(f"block_s = {sound.block_s!r}")
    if sound.chunk_s is not None:
        lines.append(f"chunk_s = {sound.chunk_s!r}")
    lines += [
        f"max_audio_s = {float(sound.max_audio_s)!r}",
        *([f"encoder_bytes = {[list(pair) for pair in encoder_bytes]}"] if encoder_bytes else []),
        "",
        "[llm]",
        f"architecture = {_text(architecture)}",
        f"d_model = {int(config['hidden_size'])}",
        f"context_length_tokens = {plan.language.context_tokens}",
        "",
        "[prompt]",
        f"template = {_text(wording.template)}",
        f"end_of_turn = {_text(wording.end_of_turn)}",
    ]
    if wording.question:
        lines.append(f"question = {_text(wording.question)}")
    if wording.ask:
        lines.append(f"ask = {_text(wording.ask)}")
    if wording.answer_after:
        lines.append(f"answer_after = {_text(wording.answer_after)}")
    if wording.answer_tags:
        lines.append(f"answer_tags = {_text(wording.answer_tags)}")
    if wording.in_language:
        lines.append(f"in_language = {_text(wording.in_language)}")
    if wording.translate:
        lines.append(f"translate = {_text(wording.translate)}")
        lines.append(f"translates_to = [{', '.join(map(_text, wording.translates_to))}]")
    lines.append(f"max_tokens = {max_tokens}")
    if source is not None:
        lines += [
            "",
            "[source]",
            *(f"{key} = {_text(value)}" for key, value in source.parts.items()),
        ]
    for file in files:
        lines += [
            "",
            "[[file]]",
            f'role = "{file.role}"',
            f"name = {_text(file.path.name)}",
            f"size_bytes = {file.path.stat().st_size}",
            f'sha256 = "{file.sha256 or file_sha256(file.path)}"',
            f"licence = {_text(file.licence)}",
        ]
    return "\n".join(lines) + "\n"


def _summary(plan: Plan, source: Source | None) -> str:
    # Folders of the hub's cache are called after commits.
    checkpoint = source.checkpoint.partition("@")[0] if source else ""
    named = checkpoint if checkpoint[:1].isalnum() else plan.folder.absolute().name
    return clipped(f"{plan.family}, converted from {printable(named)}", _MOST_SUMMARY_CHARS)


def _text(value: str) -> str:
    """A TOML text on one line: JSON's escapes are TOML's, but for the one that it leaves out."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
