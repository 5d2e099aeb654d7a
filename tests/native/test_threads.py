from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model
from edge_audiokv.native.threads import Callers, default_threads

pytestmark = pytest.mark.alone


@pytest.mark.parametrize(
    ("physical", "logical", "allowed", "threads"),
    [
        (2, 4, 4, 2),  # two threads a core
        (16, 32, 32, 4),
        (8, 16, 1, 1),  # bound to one core
        (None, 3, 3, 3),  # a machine that does not tell its cores
        (None, None, 8, 1),
    ],
)
def test_one_rule_of_cores_for_all(
    monkeypatch: pytest.MonkeyPatch,
    physical: int | None,
    logical: int | None,
    allowed: int,
    threads: int,
) -> None:
    monkeypatch.setattr(
        psutil, "cpu_count", lambda logical=True, n=logical: n if logical else physical
    )
    monkeypatch.setattr(
        psutil.Process, "cpu_affinity", lambda self: list(range(allowed)), raising=False
    )
    assert default_threads() == threads
    assert EngineSettings().n_threads == threads
    # Who names a number gets it, but no more than there are cores.
    assert EngineSettings(threads=7).n_threads == min(7, logical or 1, allowed)


def test_a_system_without_affinity_counts_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(psutil.Process, "cpu_affinity", raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 8 if logical else 3)
    assert default_threads() == 3


def test_callers_divide_the_threads() -> None:
    callers = Callers()
    assert callers.share(4) == 4
    with callers:
        assert callers.share(4) == 4
        with callers:
            assert [callers.share(n) for n in (4, 3, 2, 1)] == [2, 1, 1, 1]
            with pytest.raises(KeyError), callers, callers:
                assert callers.share(4) == 1
                raise KeyError
        assert callers.share(4) == 4


@pytest.mark.integration
def test_logits_do_not_depend_on_who_else_computes(model: Model, tokens) -> None:
    """What a session says must not change with the load of a server."""
    n = min(96, len(tokens))
    with HeadwiseContext(model, 256, n_threads=2) as context:
        alone = context.decode_tokens(tokens[:n], score=True)
        after = context.decode_tokens([7])
        scores = context.scores()
        context.truncate(0)
        with model.callers:
            assert model.callers.share(2) == 2
            with model.callers:
                beside = context.decode_tokens(tokens[:n], score=True)
                assert context._n_threads_now == 1
                assert np.array_equal(beside, alone)
                assert np.array_equal(context.decode_tokens([7]), after)
                assert np.array_equal(context.scores(), scores)
        context.truncate(0)
        assert np.array_equal(context.decode_tokens(tokens[:n], score=True), alone)
        assert context._n_threads_now == 2


@pytest.mark.integration
def test_two_contexts_compute_at_once_as_if_each_were_alone(model: Model, tokens) -> None:
    texts = [tokens[:64], tokens[64:128]]

    def logits(context: HeadwiseContext, text) -> list[np.ndarray]:
        found = [context.decode_tokens(text, score=True)]
        for _ in range(24):
            found.append(context.decode_tokens([int(found[-1].argmax())]))
        return found

    with (
        HeadwiseContext(model, 256, n_threads=2) as first,
        HeadwiseContext(model, 256, n_threads=2) as second,
    ):
        contexts = [first, second]
        alone = [logits(context, text) for context, text in zip(contexts, texts, strict=True)]
        for context in contexts:
            context.truncate(0)
        with ThreadPoolExecutor(2) as pool:
            beside = list(pool.map(logits, contexts, texts))
    for mine, theirs in zip(alone, beside, strict=True):
        assert all(map(np.array_equal, mine, theirs))
