"""A converted model beside its reference: rows of the encoder, logits of the LLM, tokens of a clip.

What is kept in 32 or 16 bits is judged closely. What is quantised is another model by intent: it
is only asked whether it is one of this checkpoint, and its distance is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_audiokv.families import checks
from edge_audiokv.families.parity.finding import TOLD, Finding, at_least, at_most
from edge_audiokv.families.parity.reference import Reference
from edge_audiokv.families.plan import Plan
from edge_audiokv.families.wording import load_tokenizer
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model
from edge_audiokv.native.stock import StockContext

Array = npt.NDArray[np.float32]
TOKENS = 24
# In deviations of the reference's numbers.
_MOST_OF_ROWS = {"f32": 1e-3, "fp16": 2e-2}
_MOST_OF_LOGITS = {"f32": 2e-3, "f16": 5e-2, "bf16": 5e-2}
# Of anything that is quantised; numbers of another checkpoint have none.
_LEAST_CORRELATION = 0.5
# Between two tokens that are nearer to each other than that, rows in f16 may choose either.
_NEAR = 5e-2


@dataclass(frozen=True)
class Converted:
    """What is looked at: its files, their types, and its prompt around the sound, as tokens."""

    encoder: Path
    encoder_type: str
    llm: Path
    llm_type: str
    before: list[int]
    after: list[int]
    prompt: str
    """The prompt's text without sound and question."""

    @property
    def is_exact(self) -> bool:
        return self.encoder_type in _MOST_OF_ROWS and self.llm_type in _MOST_OF_LOGITS


class _PlainStock(StockContext):
    """llama.cpp's own cache with rows in 32 bits and plain attention."""

    def context_params(self) -> Any:
        params = super().context_params()
        params.flash_attn_type = 0
        return params


def encoder_type(path: Path) -> str:
    """f32, fp16 or int8: what the graph's large weights are kept in."""
    import onnx

    kinds = {
        tensor.data_type
        for tensor in onnx.load(str(path), load_external_data=False).graph.initializer
        if len(tensor.dims) >= 2
    }
    if kinds & {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}:
        return "int8"
    return "fp16" if onnx.TensorProto.FLOAT16 in kinds else "f32"


def tower_finding(plan: Plan, made: Converted) -> Finding:
    """The graph beside the tower that it was made from, over noise."""
    value = checks.rows_difference(checks.tower_rows(plan.tower().eval(), plan), made.encoder)
    what = f"{value:.1e} of the rows' deviation, over noise"
    bound = _MOST_OF_ROWS.get(made.encoder_type)
    if bound is None:
        return Finding("encoder and its tower", TOLD, what, value)
    return at_most("encoder and its tower", value, bound, what)


def tokens_finding(plan: Plan, made: Converted) -> Finding:
    """Tokens of the prompt beside those of the checkpoint's own tokenizer."""
    tokenizer = load_tokenizer(plan.language.tokenizer)
    with Model(made.llm) as model:
        ours = model.tokenize(made.prompt, special=True)
    theirs = [int(x) for x in tokenizer(made.prompt, add_special_tokens=False)["input_ids"]]
    wrong = sum(a != b for a, b in zip(ours, theirs, strict=False)) + abs(len(ours) - len(theirs))
    return at_most("prompt's tokens", wrong, 0, f"{wrong} of {len(theirs)} differ")


def findings(
    made: Converted, reference: Reference, audio: Array, threads: int
) -> Iterator[Finding]:
    """Rows, logits and tokens of the sound [S], which is whole rows of at most one window."""
    rows = _encoded(made.encoder, audio)
    wanted = rows
    if reference.hears:
        wanted = reference.rows(audio)
        yield _rows_finding(made, rows, wanted)
        if rows.shape != wanted.shape:
            return
    first = reference.logits(made.before, wanted, made.after, [])[0]
    yield _logits_finding(made, _stock_logits(made, wanted, threads), first)
    said = _greedy(made, rows, threads)
    steps = reference.logits(made.before, wanted, made.after, said[:-1])
    yield _tokens_said(made, said, steps)


def _rows_finding(made: Converted, rows: Array, wanted: Array) -> Finding:
    name = "encoder's rows"
    if rows.shape != wanted.shape:
        return at_most(name, abs(len(rows) - len(wanted)), 0, f"{len(rows)} for {len(wanted)}")
    largest = float(np.abs(rows - wanted).max())
    return _distance(name, _MOST_OF_ROWS.get(made.encoder_type), rows, wanted, largest)


def _logits_finding(made: Converted, logits: Array, wanted: Array) -> Finding:
    if logits.shape != wanted.shape:
        return at_most("LLM's logits", 1, 0, f"{len(logits)} for {len(wanted)} tokens")
    largest = float(np.abs(logits - wanted).max())
    bound = _MOST_OF_LOGITS.get(made.llm_type)
    return _distance("LLM's logits", bound, logits, wanted, largest)


def _distance(
    name: str, bound: float | None, ours: Array, theirs: Array, largest: float
) -> Finding:
    spread = max(float(theirs.std()), 1e-6)
    if bound is not None:
        what = f"differ by at most {largest:.1e}, {largest / spread:.1e} of their deviation"
        return at_most(name, largest / spread, bound, what)
    alike = float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])
    what = f"correlate by {alike:.4f}, differ by at most {largest:.1e}"
    return at_least(name, alike, _LEAST_CORRELATION, what)


def _tokens_said(made: Converted, said: list[int], steps: Array) -> Finding:
    best = steps.argmax(axis=1)
    same = int(np.sum(best == said))
    lost = steps.max(axis=1) - steps[np.arange(len(said)), said]
    far = int(np.sum(lost > _NEAR * steps.std(axis=1)))
    what = f"{same} of {len(said)} are the reference's own choice"
    if not made.is_exact:
        return Finding("tokens of a clip", TOLD, what, same)
    if far == 0 and same < len(said):
        what += ", the others as near as rows in f16 allow"
    return at_most("tokens of a clip", far, 0, what)


def _encoded(path: Path, audio: Array) -> Array:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (rows,) = session.run(None, {session.get_inputs()[0].name: audio[None]})
    made: Array = np.ascontiguousarray(rows[0], np.float32)
    return made


def _stock_logits(made: Converted, rows: Array, threads: int) -> Array:
    n_tokens = len(made.before) + len(rows) + len(made.after)
    longest = max(len(made.before), len(rows), len(made.after))
    with _PlainStock(
        made.llm, n_tokens + 8, type_k="f32", type_v="f32", n_batch=longest, n_threads=threads
    ) as stock:
        if made.before:
            stock.decode(np.array(made.before))
        stock.decode(None, rows)
        return stock.decode(np.array(made.after))


def _greedy(made: Converted, rows: Array, threads: int) -> list[int]:
    """What the head-wise cache says of the sound with every row kept, likeliest token by token."""
    capacity = len(made.before) + len(rows) + len(made.after) + TOKENS + 8
    said: list[int] = []
    with Model(made.llm) as model, HeadwiseContext(model, capacity, n_threads=threads) as context:
        if made.before:
            context.decode_tokens(made.before, logits=False)
        context.decode_embeddings(rows)
        next_ids = made.after
        while len(said) < TOKENS:
            logits = context.decode_tokens(next_ids)
            said.append(int(np.argmax(logits)))  # type: ignore[arg-type]
            next_ids = said[-1:]
    return said
