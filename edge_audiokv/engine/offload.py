"""What of the LLM lies on a compute device, from the settings and the devices that there are."""

from __future__ import annotations

from dataclasses import dataclass

from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.kv.memory import SLACK_SHARE, DeviceShare
from edge_audiokv.models.gguf import GGUFHeader
from edge_audiokv.native.compute import ComputeDevice, find_device, no_device
from edge_audiokv.native.model import ALL_LAYERS
from edge_audiokv.units import parse_bytes

# Rows that the native layer rounds a head's capacity up to.
_ROW_MULTIPLE, _ROW_MULTIPLE_ON_DEVICE = 64, 256
# What is left to others of a device's own memory, by share and at least.
_MARGIN_SHARE, _MARGIN_BYTES = 0.05, 256_000_000
# What "auto" keeps for cache and working arrays where all layers go to a device.
_CACHE_SHARE, _CACHE_BYTES = 0.1, 256_000_000


@dataclass(frozen=True)
class Offload:
    """`n_layers` of the LLM (ALL_LAYERS, or a number from the last on) lie on `device`, the others
    and all else on the CPU. The caches are where the first layer is, or here if `keeps_cache`.

    `host_share` and `device_share` of the file's bytes are in the machine's memory and the
    device's: both hold the embeddings where they serve as output, too. `cap_bytes` is what may be
    taken of the device's own memory.
    """

    device: ComputeDevice | None = None
    n_layers: int = 0
    host_share: float = 1.0
    device_share: float = 0.0
    cap_bytes: int = 0
    keeps_cache: bool = False

    @property
    def takes_all(self) -> bool:
        """Every layer lies on the device."""
        return self.device is not None and self.n_layers == ALL_LAYERS

    @property
    def takes_cache(self) -> bool:
        """The caches lie on the device."""
        return self.takes_all and not self.keeps_cache

    @property
    def is_apart(self) -> bool:
        """What lies on the device is no part of the machine's memory."""
        return self.device is not None and not self.device.unified

    @property
    def row_multiple(self) -> int:
        """A head's capacity is a multiple of this many rows."""
        return _ROW_MULTIPLE_ON_DEVICE if self.takes_cache else _ROW_MULTIPLE

    def share(self, parts: dict[str, int]) -> DeviceShare | None:
        """For a plan, with these parts there; None if all is one memory."""
        if self.device is None or not self.is_apart:
            return None
        return DeviceShare(self.device.name, self.cap_bytes, parts, self.takes_cache)


def device_of(settings: EngineSettings) -> ComputeDevice | None:
    """The device that is asked for; None for the CPU.

    Raises NativeError for one that there is not, with how to build for one.
    """
    wanted, layers = settings.compute, settings.gpu_layers
    if layers == 0 or wanted == "cpu" or (wanted is None and layers is None):
        return None
    device = find_device(wanted or "auto")
    if device is None and layers not in (None, "auto"):
        raise no_device("There is no device for layers of the LLM", [])
    return device


def offload_of(settings: EngineSettings, header: GGUFHeader) -> Offload:
    """For the LLM of `header`. Raises as `device_of` does."""
    device = device_of(settings)
    if device is None:
        return Offload()
    cap_bytes = 0 if device.unified else _cap_bytes(settings, device)
    layers = settings.gpu_layers
    if not isinstance(layers, int):
        everything = device.unified or layers == "all"
        cache_share = 0.0 if settings.kv_device == "cpu" else _CACHE_SHARE
        layers = header.block_count + 1 if everything else _fitting(header, cap_bytes, cache_share)
    if layers == 0:
        return Offload()
    # The output counts as one more layer, and is the first to go.
    here = max(0, header.block_count + 1 - layers)
    blocks = header.block_bytes / header.file_bytes
    # One memory holds all of it, wherever that lies.
    host = 1 - blocks + blocks * here / header.block_count if not device.unified else 1.0
    there = 1 - blocks * here / header.block_count
    return Offload(
        device,
        layers if here else ALL_LAYERS,
        host,
        there,
        cap_bytes,
        keeps_cache=settings.kv_device == "cpu",
    )


def _cap_bytes(settings: EngineSettings, device: ComputeDevice) -> int:
    if settings.gpu_mem is not None:
        return parse_bytes(settings.gpu_mem, total_bytes=device.total_bytes)
    margin_bytes = max(_MARGIN_BYTES, int(device.total_bytes * _MARGIN_SHARE))
    return max(0, device.free_bytes - margin_bytes)


def _fitting(header: GGUFHeader, cap_bytes: int, cache_share: float) -> int:
    """Layers whose weights fit beside what caches and working arrays take."""
    room = cap_bytes - max(_CACHE_BYTES, int(cap_bytes * cache_share))
    layer_bytes = header.block_bytes * (1 + SLACK_SHARE) / header.block_count
    rest_bytes = (header.file_bytes - header.block_bytes) * (1 + SLACK_SHARE)
    if room < rest_bytes:
        return 0
    return min(header.block_count + 1, 1 + int((room - rest_bytes) / max(layer_bytes, 1)))
