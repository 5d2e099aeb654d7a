"""Counts what ggml's backend is asked to carry between the machine and a device, call by call.

The functions of the device's buffers and streams are replaced by ones that note the bytes and call
them; what was opened while `counting` stays so.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from edge_audiokv.native.compute import ComputeDevice
from edge_audiokv.native.library import load

_p, _size = ctypes.c_void_p, ctypes.c_size_t
_ALLOC = ctypes.CFUNCTYPE(_p, _p, _size)
_FREE = ctypes.CFUNCTYPE(None, _p)
_MOVE = ctypes.CFUNCTYPE(None, _p, _p, _p, _size, _size)
_MOVE_2D = ctypes.CFUNCTYPE(None, _p, _p, _p, *[_size] * 5)
_COPY = ctypes.CFUNCTYPE(ctypes.c_bool, _p, _p, _p)
_COPY_ASYNC = ctypes.CFUNCTYPE(ctypes.c_bool, _p, _p, _p, _p)
_INIT = ctypes.CFUNCTYPE(_p, _p, ctypes.c_char_p)


def _pointers(*names: str) -> list[tuple[str, Any]]:
    return [(name, _p) for name in names]


class _BufferType(ctypes.Structure):
    """The beginning of struct ggml_backend_buffer_type."""

    _fields_ = _pointers("get_name", "alloc_buffer")


class _Buffer(ctypes.Structure):
    """struct ggml_backend_buffer"""

    _fields_ = [
        *_pointers("free_buffer", "get_base", "init_tensor", "memset_tensor"),
        *_pointers("set_tensor", "get_tensor", "set_tensor_2d", "get_tensor_2d", "cpy_tensor"),
        *_pointers("clear", "reset", "buft", "context"),
        ("size", _size),
    ]


class _Backend(ctypes.Structure):
    """The beginning of struct ggml_backend."""

    _fields_ = [
        *_pointers("guid", "get_name", "free", "set_tensor_async", "get_tensor_async"),
        *_pointers("set_tensor_2d_async", "get_tensor_2d_async", "cpy_tensor_async"),
    ]


class _Device(ctypes.Structure):
    """The beginning of struct ggml_backend_device."""

    _fields_ = _pointers(
        "get_name", "get_description", "get_memory", "get_type", "get_props", "init_backend"
    )


@dataclass
class Carried:
    """Bytes since the last `reset`, and what the device's buffers hold now."""

    to_device: int = 0
    to_host: int = 0
    within: int = 0
    held: int = 0

    def reset(self) -> None:
        self.to_device = self.to_host = self.within = 0


# C keeps pointers to them for as long as a buffer lives.
_kept: list[Any] = []


@contextmanager
def counting(device: ComputeDevice) -> Iterator[Carried]:
    """Whatever is allocated on `device` within counts, for as long as it lives."""
    carried, lib = Carried(), load().llama._lib
    lib.ggml_backend_dev_buffer_type.restype, lib.ggml_backend_dev_buffer_type.argtypes = _p, [_p]
    lib.ggml_backend_buffer_is_host.restype = ctypes.c_bool
    lib.ggml_backend_buffer_is_host.argtypes = [_p]
    lib.ggml_nbytes.restype, lib.ggml_nbytes.argtypes = _size, [_p]

    def copied(source: int) -> None:
        # struct ggml_tensor begins with its type and, aligned, its buffer.
        buffer = ctypes.cast(source, ctypes.POINTER(_p))[1]
        size = lib.ggml_nbytes(source)
        if lib.ggml_backend_buffer_is_host(buffer):
            carried.to_device += size
        else:
            carried.within += size

    def replace(owner: ctypes.Structure, name: str, kind: Any, make: Callable[[Any], Any]) -> None:
        address = getattr(owner, name)
        if address:
            ours = kind(make(kind(address)))
            _kept.append(ours)
            setattr(owner, name, ctypes.cast(ours, _p).value)

    def moves(name: str) -> Callable[[Any], Any]:
        def make(real: Any) -> Any:
            def move(*args: Any) -> None:
                # owner, tensor, data, offset, size, and of the two-dimensional ones how often.
                size = args[4] * (args[5] if len(args) > 5 else 1)
                setattr(carried, name, getattr(carried, name) + size)
                real(*args)

            return move

        return make

    def copies(real: Any) -> Any:
        def copy(*args: Any) -> bool:
            done = bool(real(*args))
            if done:
                copied(args[-2])
            return done

        return copy

    def allocates(real: Any) -> Any:
        def allocate(buffer_type: int, size: int) -> int | None:
            address: int | None = real(buffer_type, size)
            if address:
                buffer = _Buffer.from_address(address)
                held = buffer.size
                carried.held += held

                def frees(real_free: Any) -> Any:
                    def free(owner: int) -> None:
                        carried.held -= held
                        real_free(owner)

                    return free

                replace(buffer, "free_buffer", _FREE, frees)
                replace(buffer, "set_tensor", _MOVE, moves("to_device"))
                replace(buffer, "get_tensor", _MOVE, moves("to_host"))
                replace(buffer, "set_tensor_2d", _MOVE_2D, moves("to_device"))
                replace(buffer, "get_tensor_2d", _MOVE_2D, moves("to_host"))
                replace(buffer, "cpy_tensor", _COPY, copies)
            return address

        return allocate

    def begins(real: Any) -> Any:
        def begin(owner: int, params: bytes | None) -> int | None:
            address: int | None = real(owner, params)
            if address:
                stream = _Backend.from_address(address)
                replace(stream, "set_tensor_async", _MOVE, moves("to_device"))
                replace(stream, "get_tensor_async", _MOVE, moves("to_host"))
                replace(stream, "set_tensor_2d_async", _MOVE_2D, moves("to_device"))
                replace(stream, "get_tensor_2d_async", _MOVE_2D, moves("to_host"))
                replace(stream, "cpy_tensor_async", _COPY_ASYNC, copies)
            return address

        return begin

    buffers = _BufferType.from_address(lib.ggml_backend_dev_buffer_type(device.handle))
    streams = _Device.from_address(device.handle)
    before = buffers.alloc_buffer, streams.init_backend
    replace(buffers, "alloc_buffer", _ALLOC, allocates)
    replace(streams, "init_backend", _INIT, begins)
    try:
        yield carried
    finally:
        buffers.alloc_buffer, streams.init_backend = before
