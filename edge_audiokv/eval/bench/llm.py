"""Prefill, compaction and decoding, ours and stock llama.cpp's in turns.

Both get the same sound and the same tokens; batches of a prefill and blocks of decoded tokens take
turns, and who goes first changes with every repetition. Ours does all that the engine does: it
makes room, scores every 16th token, and knows what each row is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace

import psutil

from edge_audiokv.engine.cache import HeadCache
from edge_audiokv.errors import MemoryBudgetError
from edge_audiokv.eval.bench.alone import Tell, alone
from edge_audiokv.eval.bench.caches import (
    Footprint,
    Prompt,
    Read,
    Setting,
    kept_rows,
    open_ours,
    open_stock,
    our_footprint,
    stock_footprint,
    whole_capacity,
)
from edge_audiokv.eval.bench.limit import share_of_limit, token_bytes, weight_bytes
from edge_audiokv.eval.bench.plan import Plan, seconds
from edge_audiokv.eval.bench.rows import OURS, STOCK, Row, compared, timed
from edge_audiokv.kv.policy import Policy
from edge_audiokv.kv.shape import KVShape
from edge_audiokv.models.gguf import read_header
from edge_audiokv.native.model import Model
from edge_audiokv.native.stock import StockContext
from edge_audiokv.units import format_bytes

Turns = dict[str, Callable[[], object]]


def run_llm(
    plan: Plan,
    setting: Setting,
    policy: Policy,
    bandwidth_bytes_per_s: float,
    *,
    stock: bool,
    tell: Tell,
) -> Iterator[Row]:
    """A row as soon as it is known; `tell` is called for each of `plan.n_steps`.

    Raises MemoryBudgetError if two models and the longest prompt are more than is free now.
    """
    with Model(setting.path) as model:
        for type_k, type_v in plan.rows:
            typed = replace(setting, type_k=type_k, type_v=type_v)
            shape = replace(model.shape, type_k=type_k, type_v=type_v)
            _check_room(plan, typed, shape, 1 + stock)
            for n_prompt in plan.contexts:
                yield from _Context(
                    plan, model, typed, shape, policy, n_prompt, bandwidth_bytes_per_s, stock, tell
                ).rows()


class _Context:
    """One length of prompt with one pair of row types."""

    def __init__(
        self,
        plan: Plan,
        model: Model,
        setting: Setting,
        shape: KVShape,
        policy: Policy,
        n_prompt: int,
        bandwidth_bytes_per_s: float,
        stock: bool,
        tell: Tell,
    ) -> None:
        self.plan, self.model, self.setting, self.shape = plan, model, setting, shape
        self.policy, self.n_prompt = policy, n_prompt
        self.bandwidth_bytes_per_s, self.has_stock, self.tell = bandwidth_bytes_per_s, stock, tell
        self.n_rows = n_prompt + plan.n_room
        self.prompt = Prompt.of(model, n_prompt, plan.n_gen)
        self.weights_bytes = weight_bytes(read_header(setting.path))
        kinds = "" if shape.type_k == shape.type_v == "f16" else f" {shape.type_k}/{shape.type_v}"
        self.name = f"{n_prompt} tokens{kinds}"

    def rows(self) -> Iterator[Row]:
        with ExitStack() as stack:
            stock = None
            if self.has_stock:
                stock = stack.enter_context(open_stock(self.setting, self.n_rows))
            read, found = self._prefill(stock)
            yield from found
            alone_s: list[float] = []
            for share in self.plan.shares:
                yield from self._share(stock, read, share, alone_s)
            if stock is not None:
                footprint = self._told(
                    alone(stock_footprint, self.setting, self.n_rows), "memory of llama.cpp"
                )
                bytes_ = self.n_rows * self.shape.n_head * self.shape.row_bytes
                yield self._decoded(
                    STOCK, 1.0, alone_s, self.n_prompt * self.shape.n_head,
                    replace(footprint, kv_bytes=bytes_),
                )  # fmt: skip

    def _prefill(self, stock: StockContext | None) -> tuple[Read, list[Row]]:
        kept = kept_rows(self.policy, self.shape, self.n_prompt, 1.0)
        with closing(
            open_ours(self.model, self.setting, self.policy, kept + self.plan.n_room)
        ) as ours:
            ours.warm_up()
            took: dict[str, list[float]] = {}
            for index in range(self.plan.repetitions):
                ours.clear()
                if stock is not None:
                    stock.truncate(0)
                for name, took_s in self._read_once(ours, stock, index).items():
                    took.setdefault(name, []).append(took_s)
            read = Read.of(ours)
        beside = compared(took[OURS], took.get(STOCK), self.n_prompt)
        return read, [
            Row(
                "prefill", name, n_prompt=self.n_prompt, type_k=self.shape.type_k,
                type_v=self.shape.type_v, kv_share=1.0,
                **timed(times, self.n_prompt), **(beside if name == OURS else {}),
            )
            for name, times in took.items()
        ]  # fmt: skip

    def _read_once(
        self, ours: HeadCache, stock: StockContext | None, index: int
    ) -> dict[str, float]:
        """Seconds that each took for the whole prompt, batch by batch in turns."""
        total: dict[str, float] = {}
        question = self.prompt.question
        turns: list[Turns] = []
        for part in self.prompt.batches():
            turns.append({OURS: lambda part=part: ours.append_embeddings(part)})  # type: ignore[misc]
            if stock is not None:
                turns[-1][STOCK] = lambda part=part: stock.decode(None, part)  # type: ignore[misc]
        turns.append({OURS: lambda: ours.ask(question.tolist())})
        if stock is not None:
            turns[-1][STOCK] = lambda: stock.decode(question)
        for turn in turns:
            for name, took_s in _in_turns(turn, index, self.plan.now).items():
                total[name] = total.get(name, 0.0) + took_s
            self.tell(f"{self.name}, prefill")
        return total

    def _share(
        self, stock: StockContext | None, read: Read, share: float, alone_s: list[float]
    ) -> Iterator[Row]:
        """Compaction to `share` of the rows and decoding from what is left."""
        plan, kept = self.plan, kept_rows(self.policy, self.shape, self.n_prompt, share)
        capacity = whole_capacity(kept, self.n_prompt, plan.n_room)
        with closing(open_ours(self.model, self.setting, self.policy, capacity, share)) as opened:
            cache = read.put_into(opened, self.prompt)
            if share < 1:
                cuts = []
                for index in range(plan.repetitions):
                    if index:
                        cache = read.put_into(opened, self.prompt)
                    cuts.append(seconds(lambda c=cache: c.evict(c.targets(share)), plan.now))  # type: ignore[misc]
                    self.tell(f"{self.name}, compaction to {share:.0%}")
                yield Row(
                    "eviction", n_prompt=self.n_prompt, type_k=self.shape.type_k,
                    type_v=self.shape.type_v, kv_share=share,
                    kv_rows=int(cache.context.counts.sum()), **timed(cuts),
                )  # fmt: skip
            held = int(cache.context.counts.sum())
            took = self._decode(cache, stock, share)
        alone_s += took.get(STOCK, [])
        footprint = self._told(
            alone(our_footprint, self.setting, self.policy, kept, plan.n_room),
            f"memory at {share:.0%}",
        )
        row = self._decoded(OURS, share, took[OURS], held, footprint)
        yield replace(row, **compared(took[OURS], took.get(STOCK), self.plan.n_gen))

    def _decode(
        self, cache: HeadCache, stock: StockContext | None, share: float
    ) -> dict[str, list[float]]:
        """Seconds for `n_gen` tokens, repetition by repetition."""
        ids = self.prompt.answer
        turns: Turns = {OURS: lambda: [cache.append_generated([int(token)]) for token in ids]}
        if stock is not None:
            turns[STOCK] = lambda: [stock.decode(ids[at : at + 1]) for at in range(len(ids))]
            stock.decode(ids[:1])
            stock.truncate(self.n_prompt)
        cache.append_generated([int(ids[0])])
        cache.truncate(self.n_prompt)
        took: dict[str, list[float]] = {}
        for index in range(self.plan.repetitions):
            for name, took_s in _in_turns(turns, index, self.plan.now).items():
                took.setdefault(name, []).append(took_s)
            cache.truncate(self.n_prompt)
            if stock is not None:
                stock.truncate(self.n_prompt)
            self.tell(f"{self.name}, decoding with {share:.0%} of the rows")
        return took

    def _decoded(
        self, name: str, share: float, took: Sequence[float], held: int, footprint: Footprint
    ) -> Row:
        # On average half of what is decoded is there, too.
        grown = held + self.plan.n_gen * self.shape.n_head // 2
        moved = token_bytes(self.weights_bytes, grown, self.shape)
        row = Row(
            "decode", name, n_gen=self.plan.n_gen, n_depth=self.n_prompt,
            type_k=self.shape.type_k, type_v=self.shape.type_v, kv_share=share, kv_rows=held,
            kv_bytes=footprint.kv_bytes, bytes_per_token=moved,
            limit_ts=self.bandwidth_bytes_per_s / moved,
            peak_rss_bytes=footprint.peak_rss_bytes, **timed(took, self.plan.n_gen),
        )  # fmt: skip
        reached = share_of_limit(row.median_ts or 0.0, moved, self.bandwidth_bytes_per_s)
        return replace(row, limit_share=reached)

    def _told(self, footprint: Footprint, what: str) -> Footprint:
        self.tell(f"{self.name}, {what}")
        return footprint


def _in_turns(turns: Turns, index: int, now: Callable[[], float]) -> dict[str, float]:
    """Seconds of each call; the order changes with `index`."""
    names = list(turns) if index % 2 else list(reversed(turns))
    return {name: seconds(turns[name], now) for name in names}


def _check_room(plan: Plan, setting: Setting, shape: KVShape, n_models: int) -> None:
    longest = max(plan.contexts) + plan.n_room
    # Two caches, and the saved rows twice while they are put back.
    needed = n_models * setting.path.stat().st_size + 4 * longest * shape.n_head * shape.row_bytes
    free = psutil.virtual_memory().available
    if needed > free:
        raise MemoryBudgetError(
            f"Measuring {longest} rows takes about {format_bytes(needed)}, and"
            f" {format_bytes(free)} are free.",
            cure="Measure shorter --contexts, or end other programs.",
        )
