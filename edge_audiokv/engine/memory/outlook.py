"""How much a model will remember under a cap, before anything of it is loaded.

The sum is the session's own (`estimate`, `session_memory`, `kv.memory`); what is measured after
loading decides in the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_audiokv.engine.decoding.guard import most_tokens
from edge_audiokv.engine.memory.estimate import (
    MODEL_TABLE_BYTES,
    context_bytes,
    context_bytes_of,
    model_parts,
    shape_of,
)
from edge_audiokv.engine.memory.session_memory import SessionNeeds
from edge_audiokv.errors import MemoryBudgetError
from edge_audiokv.kv.memory import INTERPRETER, plan_memory
from edge_audiokv.kv.policy import Policy
from edge_audiokv.kv.shape import KVShape
from edge_audiokv.models.download import LocalModel
from edge_audiokv.models.prompt import PROMPT_TOKENS
from edge_audiokv.models.sizes import PublicModel
from edge_audiokv.models.token_rule import TokenRule

# Python with numpy and onnxruntime (measured: 70 MiB).
_INTERPRETER_BYTES = 74_000_000
_SEGMENT_S = 15.0
# Of a public model: feed-forward networks in widths of its attention, and tokens.
_FEED_WIDTH, _N_VOCAB = 3, 152_000
# What is remembered beside the sound: its text, and a prompt for each segment.
_SAID_TOKENS_PER_S, _PROMPT_EVERY_S, _SHORT_PROMPT_TOKENS = 4.0, 10.0, 20


@dataclass(frozen=True)
class Outlook:
    """`kv_bytes` of cache under a cap, and `remembered_s` of speech whose rows it keeps; both 0 if
    the model does not fit, whose smallest cap is `least_cap_bytes`.
    """

    kv_bytes: int
    remembered_s: float
    least_cap_bytes: int = 0


@dataclass(frozen=True)
class Remembering:
    """What of a model decides how much it remembers. One that can be asked recalls, too."""

    name: str
    parts: dict[str, int]
    shape: KVShape
    rule: TokenRule
    prompt_tokens: int
    context_tokens: int
    context_bytes: int
    asks: bool = True
    answer_tags: str = ""

    @classmethod
    def of_public(cls, model: PublicModel) -> Remembering:
        """A public model, by its stated sizes."""
        parts = {"encoder": model.encoder_bytes, "weights": model.llm_bytes + MODEL_TABLE_BYTES}
        shape = KVShape(model.n_layer, model.n_kv_head, model.n_group, model.head_dim)
        context = model.context_length_tokens
        width = _FEED_WIDTH * shape.n_kv_head * shape.n_group * shape.head_dim
        each_bytes = context_bytes(width, _N_VOCAB)
        return cls(model.name, parts, shape, model.rule, PROMPT_TOKENS, context, each_bytes)

    @classmethod
    def of_local(cls, local: LocalModel) -> Remembering:
        """A model whose files are here."""
        entry = local.entry
        parts = model_parts(local, min(_SEGMENT_S, entry.max_audio_s))
        context = local.gguf.context_length
        prompt = entry.prompt.max_tokens
        asks, tags = entry.prompt.asks, entry.prompt.answer_tags
        each_bytes = context_bytes_of(local)
        return cls(
            entry.name, parts, shape_of(local), entry.rule, prompt, context, each_bytes, asks, tags
        )

    @property
    def rows_per_second(self) -> float:
        """Positions that a second of speech takes, with its text and its share of a prompt."""
        prompts = _SHORT_PROMPT_TOKENS / _PROMPT_EVERY_S
        return self.rule.rows_per_second + _SAID_TOKENS_PER_S + prompts

    def under(
        self, cap_bytes: int, *, share: float, policy: Policy, type_k: str, type_v: str
    ) -> Outlook:
        """With `share` of the rows kept, in rows of these types."""
        shape = replace(self.shape, type_k=type_k, type_v=type_v)
        needs = SessionNeeds.sized(
            shape,
            policy,
            audio_tokens=self.rule.rows_in(_SEGMENT_S) + 1,
            prompt_tokens=self.prompt_tokens,
            text_tokens=most_tokens(_SEGMENT_S, self.answer_tags),
            context_tokens=self.context_tokens,
            context_bytes=self.context_bytes,
            recalls=self.asks,
        )
        most_bytes = needs.most_rows * shape.n_head * shape.row_bytes
        try:
            plan = plan_memory(
                cap_bytes,
                {INTERPRETER: _INTERPRETER_BYTES, **self.parts, **needs.estimated_parts()},
                kv_min_bytes=needs.least_bytes,
                kv_max_bytes=max(needs.least_bytes, int(most_bytes * share)),
                table_share=needs.table_share,
            )
        except MemoryBudgetError as error:
            return Outlook(0, 0.0, error.required_bytes or 0)
        rows = plan.kv_bytes / (shape.n_head * shape.row_bytes)
        # No position beyond those that the model was trained for is remembered.
        positions = min(rows / share, self.context_tokens)
        return Outlook(plan.kv_bytes, positions / self.rows_per_second)
