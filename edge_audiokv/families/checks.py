"""Is what was written what was meant? Looked at before it gets its name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from edge_audiokv.errors import ModelError
from edge_audiokv.families.plan import Plan, Wording
from edge_audiokv.families.wording import load_tokenizer
from edge_audiokv.native.model import Model

Array = npt.NDArray[np.float32]
# Of a graph in float32 with values of about 1; int8 and float16 are told, not judged.
MOST_DIFFERENCE = 1e-3
_RATE_HZ = 16_000
_TEXTS = (
    "The quick brown fox, said: \"it's 3.14 or 1,024!\" We're done\n\n  twice  over.",
    "Grüße an Änne — 你好,世界 123456 привет мир 😀 नमस्ते\t(مرحبا)\r\n x_y = [0]*3;",
)


def graph_difference(tower: nn.Module, path: Path, plan: Plan) -> float:
    """Largest difference of the graph to the tower, in standard deviations of its rows.

    Of noise of two lengths. Raises ModelError if a graph in float32 differs visibly.
    """
    return rows_difference(tower_rows(tower, plan), path)


def tower_rows(tower: nn.Module, plan: Plan) -> list[tuple[Array, Array]]:
    """Noise [1, S] of two lengths, each with the rows [1, T, d_model] that the tower makes of it.

    Whoever lets the tower go then has room for the graph.
    """
    unit_s = plan.sound.block_s or 1 / plan.sound.tokens_per_second
    longest = max(1, round(min(plan.sound.max_audio_s, 10.0) / unit_s))
    made = []
    for units in {1, longest}:
        samples = np.random.default_rng(units).standard_normal(
            (1, round(units * unit_s * _RATE_HZ))
        )
        audio = (samples * 0.1).astype(np.float32)
        with torch.no_grad():
            made.append((audio, tower(torch.from_numpy(audio)).numpy()))
    return made


def rows_difference(rows: list[tuple[Array, Array]], path: Path) -> float:
    """Largest difference of the graph's rows to `rows`, as `graph_difference` has it."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Weights stay in their mapped file; else all of them are copied, in another order.
    options.add_session_config_entry("session.disable_prepacking", "1")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for audio, wanted in rows:
        (got,) = session.run(None, {session.get_inputs()[0].name: audio})
        if got.shape != wanted.shape:
            raise _wrong(path, f"gives {list(got.shape)} for {list(wanted.shape)}")
        worst = max(worst, float(np.abs(got - wanted).max() / max(float(wanted.std()), 1e-6)))
    return worst


def check_graph(difference: float, path: Path) -> None:
    """ModelError if a graph in float32 is another one than the tower."""
    if not difference <= MOST_DIFFERENCE:
        raise _wrong(path, f"differs from the reference by {difference:.1e}")


def check_llm(path: Path, plan: Plan) -> tuple[str, int]:
    """Architecture of the GGUF, and how many tokens its prompt takes beside sound and question.

    Raises ModelError if the cache cannot serve it, if its width is not the tower's, or if its
    tokenizer writes other tokens than the checkpoint's.
    """
    tokenizer = load_tokenizer(plan.language.tokenizer)
    with Model(path) as model:
        assert_width(model.n_embd, plan)
        _ = model.shape  # says why, if the cache cannot serve it
        wording = plan.wording
        longest = max(wording.template, wording.in_language, key=len)
        prompt = longest + wording.end_of_turn
        for text in (*_TEXTS, re.sub(r"\{\w+\}", "", prompt)):
            ours = model.tokenize(text, special=True)
            theirs = _ids(tokenizer, text)
            if ours != theirs:
                at = next(
                    (n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
                    min(len(ours), len(theirs)),
                )
                raise ModelError(
                    f"The GGUF splits text otherwise than the checkpoint's tokenizer (token {at} of"
                    f" {text[:30]!r}).",
                    cure="Its tokenizer is not one that llama.cpp knows; take the maker's own.",
                )
        _check_markers(tokenizer, wording)
        architecture = model.metadata.get("general.architecture", "")
        question = max(wording.question, wording.translate, key=len)
        return architecture, len(_ids(tokenizer, prompt + question))


def assert_width(width: int, plan: Plan) -> None:
    wanted = int(plan.language.config["hidden_size"])
    if width != wanted:
        raise ModelError(
            f"The GGUF takes rows of {width} numbers, the encoder gives {wanted}.",
            cure="Take the LLM that the checkpoint was trained for.",
        )


def _ids(tokenizer: Any, text: str) -> list[int]:
    return [int(token) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]


def _check_markers(tokenizer: Any, wording: Wording) -> None:
    """The turns' markers are single tokens, or the model would read them as text."""
    for marker in set(re.findall(r"<\|\w+\|>|\[/?[A-Z_]+\]|<asr_text>", wording.template)):
        if len(_ids(tokenizer, marker)) != 1:
            raise ModelError(
                f"The tokenizer does not know {marker}, which the prompt needs.",
                cure="Take the whole folder of the checkpoint, with its own tokenizer files.",
            )


def _wrong(path: Path, what: str) -> ModelError:
    return ModelError(
        f"{path.name} {what}.", cure="This is a fault of the converter or of torch: report it."
    )
