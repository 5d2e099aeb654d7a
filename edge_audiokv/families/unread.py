"""Weights of a tower that stay in their file until they are needed.

A tower's graph is traced without one of them, and they are written one by one; where the tower
itself must hear something, it has those of one layer at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Read = Callable[[], Tensor]
_READ = "_edge_audiokv_read"
_numbers = count(1)
_unread: ContextVar[bool] = ContextVar("unread", default=False)


class _NoValues(TorchFunctionMode):
    """Weights are not drawn: memory that nobody has written to takes no room."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", "") == nn.init.__name__:
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)


@contextmanager
def unread() -> Iterator[None]:
    """Towers that are made inside have their weights' shapes, and values when they are read."""
    before = _unread.set(True)
    try:
        with _NoValues():
            yield
    finally:
        _unread.reset(before)


def give(weights: list[tuple[Tensor, Read]]) -> None:
    """Fill each weight with what its function reads: now, or, inside `unread`, later."""
    with torch.no_grad():
        for weight, read in weights:
            if _unread.get():
                setattr(weight, _READ, read)
                # The exporter takes weights for one that look the same: no two do.
                weight.reshape(-1)[0] = next(_numbers)
            else:
                weight.copy_(read())


def value(weight: Tensor) -> Tensor:
    """A weight with its values, read if they have not been."""
    read: Read | None = getattr(weight, _READ, None)
    return weight.detach() if read is None else read()


def layer_by_layer(tower: nn.Module) -> nn.Module:
    """`tower`, made inside `unread`, so that it can be run: layers read their weights when they are
    called, and let them go.
    """
    layers = _layers(tower)
    later = {id(weight) for layer in layers for weight in _weights(layer)}
    _read_all([weight for weight in _weights(tower) if id(weight) not in later])
    for layer in layers:
        layer.register_forward_pre_hook(lambda layer, _: _read_all(_weights(layer)))
        layer.register_forward_hook(lambda layer, *_: _let_go(_weights(layer)))
    return tower


def _layers(module: nn.Module) -> list[nn.Module]:
    """What the outermost lists hold."""
    if isinstance(module, nn.ModuleList):
        return list(module)
    return [layer for child in module.children() for layer in _layers(child)]


def _weights(module: nn.Module) -> list[Tensor]:
    """Those that are read from somewhere."""
    held = module.state_dict(keep_vars=True).values()
    return [weight for weight in held if hasattr(weight, _READ)]


def _read_all(weights: list[Tensor]) -> None:
    for weight in weights:
        weight.data = value(weight)


def _let_go(weights: list[Tensor]) -> None:
    for weight in weights:
        weight.data = torch.empty_like(weight)
