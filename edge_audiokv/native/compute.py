"""What the library computes on: the CPU, and the devices of the backend it was built with."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass, field

from edge_audiokv.errors import NativeError
from edge_audiokv.native.library import Library, load

# enum ggml_backend_dev_type
_KINDS = ("cpu", "gpu", "integrated", "accelerator", "meta")
# Drivers that are programs: what they call the device's memory is this process's.
_SOFTWARE = ("llvmpipe", "swiftshader")


@dataclass(frozen=True)
class ComputeDevice:
    """One device as ggml lists it.

    `kind` is cpu, gpu, integrated or accelerator; `free_bytes` and `total_bytes` are what its
    driver says, 0 if it does not. `unified` tells that its memory is the machine's own.
    """

    name: str
    description: str
    kind: str
    free_bytes: int
    total_bytes: int
    unified: bool
    handle: int = field(repr=False)

    @property
    def holds_layers(self) -> bool:
        """Layers and caches can lie there: it is neither the CPU nor a helper of the CPU."""
        return self.kind in ("gpu", "integrated")

    def facts(self) -> dict[str, str | int | bool]:
        """Ready for JSON."""
        return {
            "name": self.name,
            "description": self.description,
            "kind": self.kind,
            "free_bytes": self.free_bytes,
            "total_bytes": self.total_bytes,
            "unified": self.unified,
        }

    def now_free_bytes(self) -> int:
        """What its driver says is free at this moment; 0 if it does not say."""
        return _memory(load(), self.handle)[0]


def compute_devices() -> list[ComputeDevice]:
    """All devices of the library, the CPU last. Raises NativeError if there is no library."""
    library = load()
    lib = library.llama._lib
    lib.ggml_backend_dev_count.restype = ctypes.c_size_t
    lib.ggml_backend_dev_get.restype = ctypes.c_void_p
    lib.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    for name in ("ggml_backend_dev_name", "ggml_backend_dev_description"):
        getattr(lib, name).restype = ctypes.c_char_p
        getattr(lib, name).argtypes = [ctypes.c_void_p]
    lib.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    found = []
    for index in range(lib.ggml_backend_dev_count()):
        handle = lib.ggml_backend_dev_get(index)
        kind = _KINDS[lib.ggml_backend_dev_type(handle)]
        description = lib.ggml_backend_dev_description(handle).decode("utf-8", "replace").strip()
        unified = (
            kind != "gpu"
            # Apple's GPUs have no memory of their own, whatever kind ggml calls them.
            or sys.platform == "darwin"
            or description.lower().startswith(_SOFTWARE)
        )
        name = lib.ggml_backend_dev_name(handle).decode("utf-8", "replace")
        free_bytes, total_bytes = _memory(library, handle)
        found.append(
            ComputeDevice(name, description, kind, free_bytes, total_bytes, unified, handle)
        )
    return found


def find_device(name: str) -> ComputeDevice | None:
    """The device that `name` means: None for cpu, and for auto where there is none but the CPU.

    Raises NativeError for a name that no device has.
    """
    if name == "cpu":
        return None
    devices = [device for device in compute_devices() if device.holds_layers]
    if name == "auto":
        return devices[0] if devices else None
    for device in devices:
        if device.name.lower() == name.lower():
            return device
    raise no_device(f"There is no compute device {name!r}", devices)


def no_device(what: str, devices: list[ComputeDevice]) -> NativeError:
    """The refusal of a device that is not there, with what is, or how to build for one."""
    if devices:
        names = ", ".join(device.name for device in devices)
        return NativeError(f"{what}: there are {names}.", cure="Use one of them, or auto or cpu.")
    return NativeError(
        f"{what}: the native library was built for the CPU alone, or its driver shows no device.",
        cure="Stay on the CPU, or build for a device (vulkan, cuda or metal), in the sources:"
        " `EDGE_AUDIOKV_BACKEND=vulkan pip install .`; then look at"
        " `edge-audiokv devices --compute`.",
    )


def _memory(library: Library, handle: int) -> tuple[int, int]:
    memory = library.llama._lib.ggml_backend_dev_memory
    memory.argtypes = [ctypes.c_void_p, *[ctypes.POINTER(ctypes.c_size_t)] * 2]
    memory.restype = None
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    memory(handle, ctypes.byref(free), ctypes.byref(total))
    return free.value, total.value
