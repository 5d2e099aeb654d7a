"""What `models check` sees without the checkpoint: are the files whole, and of one another?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from edge_audiokv.encoder.onnx import OnnxEncoder
from edge_audiokv.encoder.probe import check_in_child as try_encoder
from edge_audiokv.engine.prompt import PromptTemplate
from edge_audiokv.errors import ModelError
from edge_audiokv.families.parity.finding import Finding, looked
from edge_audiokv.models.cache import file_sha256
from edge_audiokv.models.download import local_path
from edge_audiokv.models.entry import ModelEntry, ModelFile
from edge_audiokv.models.gguf import read_header
from edge_audiokv.native.model import Model
from edge_audiokv.native.probe import check_in_child as try_llm
from edge_audiokv.units import format_bytes

_AGAIN = "Convert the checkpoint again, or take the folder's files from where it came."
_MARKER = re.compile(r"<\|\w+\|>|\[/?[A-Z_]+\]|<asr_text>")
# Of the longest window that one run of the encoder takes: from the shortest to all of it.
_SHARES = (0.0, 0.1, 0.5, 1.0)
_TAIL_S = 0.37
_NOISE = 0.1


def findings(entry: ModelEntry, threads: int) -> Iterator[Finding]:
    """Files, LLM, encoder, token rule and prompt; what needs a file that is wrong is left out."""
    whole = True
    for file in entry.files:
        found = looked(file.role, partial(_file, entry, file))
        whole = whole and not found.has_failed
        yield found
    if not whole:
        return
    yield looked("LLM and entry", lambda: _llm(entry))
    yield looked("encoder and entry", lambda: _encoder(entry))
    yield looked("token rule", lambda: _rule(entry, threads))
    yield looked("prompt", lambda: _prompt(entry))


def _file(entry: ModelEntry, file: ModelFile) -> str:
    path = local_path(entry, file)
    if not path.is_file():
        raise ModelError(f"{path} is not there.", cure=_AGAIN)
    size_bytes = path.stat().st_size
    if file.size_bytes not in (None, size_bytes):
        raise ModelError(f"{path} has {size_bytes} bytes, not {file.size_bytes}.", cure=_AGAIN)
    if file.sha256 is None:
        return f"{format_bytes(size_bytes)}, {file.name}; the entry states no hash"
    digest = file_sha256(path)
    if digest != file.sha256:
        raise ModelError(
            f"{path} is damaged: sha256 {digest[:12]}..., not {file.sha256[:12]}...", cure=_AGAIN
        )
    return f"{format_bytes(size_bytes)}, {file.name}, as its hash says"


def _llm(entry: ModelEntry) -> str:
    path = path_of(entry, "llm")
    header = read_header(path)
    for what, stated, found in (
        ("architecture", entry.architecture, header.architecture),
        ("width", entry.d_model, header.d_model),
    ):
        if stated != found:
            raise ModelError(
                f"The {what} of {path.name} is {found}, and the entry says {stated}.",
                cure="Take the LLM that the encoder was made for.",
            )
    try_llm(path)
    with Model(path) as model:
        shape = model.shape  # says why, if the cache cannot serve it
    kind = (header.quantisation or "of mixed types").upper()
    return f"{header.architecture}, {kind}, width {header.d_model}, {shape.n_layer} layers"


def _encoder(entry: ModelEntry) -> str:
    path = path_of(entry, "encoder")
    try_encoder(path, d_model=entry.d_model, rule=entry.rule)
    return f"gives rows of {entry.d_model}, as the LLM takes them"


def _rule(entry: ModelEntry, threads: int) -> str:
    rule, counts = entry.rule, []
    with OnnxEncoder(
        path_of(entry, "encoder"),
        d_model=entry.d_model,
        rule=rule,
        max_window_s=entry.max_audio_s,
        threads=threads,
        warm_up=False,
    ) as encoder:
        lengths = {max(1, int(encoder.max_window_samples * share)) for share in _SHARES}
        lengths.add(min(encoder.max_window_samples, int(_TAIL_S * rule.sample_rate_hz)))
        # Those that are padded to the same are one.
        for n_samples in sorted({rule.padded(length): length for length in lengths}.values()):
            noise = np.random.default_rng(n_samples).standard_normal(n_samples) * _NOISE
            rows = encoder.encode(noise.astype(np.float32))
            if not rows.std() > 0:
                raise ModelError(f"Its rows of {n_samples} samples are all alike.", cure=_AGAIN)
            counts.append(len(rows))
    return f"{rule.kind}: {', '.join(map(str, counts))} rows, as it says"


def _prompt(entry: ModelEntry) -> str:
    template = PromptTemplate.of(entry.prompt)
    with Model(path_of(entry, "llm")) as model:
        for marker in sorted(set(_MARKER.findall(entry.prompt.template))):
            if len(model.tokenize(marker, special=True)) != 1:
                raise ModelError(
                    f"{marker} of the prompt is no token of the LLM.",
                    cure="Mend `template` in model.toml, or take the LLM that it was made for.",
                )
        template.check_length(model)
        ids = [*template.before_ids(model), *template.after_ids(model)]
    room = entry.context_length_tokens - len(ids)
    needed = entry.rule.rows_in(entry.max_audio_s)
    if needed > room:
        raise ModelError(
            f"A window takes {needed} rows, and {room} positions are left beside the prompt.",
            cure="Mend `max_audio_s` or `context_length_tokens` in model.toml.",
        )
    return f"{len(ids)} tokens beside the sound, every marker one of them"


def path_of(entry: ModelEntry, role: str) -> Path:
    """Of a role that every entry has."""
    return next(local_path(entry, file) for file in entry.files if file.role == role)
