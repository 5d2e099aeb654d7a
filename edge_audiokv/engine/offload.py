"""What of the LLM lies on a compute device, from the settings and the devices that there are."""

from __future__ import annotations

from dataclasses import dataclass

from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.native.compute import ComputeDevice, find_device, no_device
from edge_audiokv.native.model import ALL_LAYERS

# Rows that the native layer rounds a head's capacity up to.
_ROW_MULTIPLE, _ROW_MULTIPLE_ON_DEVICE = 64, 256


@dataclass(frozen=True)
class Offload:
    """`n_layers` of the LLM (ALL_LAYERS, or a number from the last on) lie on `device`, the others
    and all else on the CPU. The caches are where the first layer is.
    """

    device: ComputeDevice | None = None
    n_layers: int = 0

    @property
    def takes_cache(self) -> bool:
        """The caches lie on the device."""
        return self.device is not None and self.n_layers == ALL_LAYERS

    @property
    def row_multiple(self) -> int:
        """A head's capacity is a multiple of this many rows."""
        return _ROW_MULTIPLE_ON_DEVICE if self.takes_cache else _ROW_MULTIPLE


def offload_of(settings: EngineSettings, n_layer: int) -> Offload:
    """For an LLM of `n_layer` layers.

    Raises NativeError for a device that there is not, with how to build for one.
    """
    wanted, layers = settings.compute, settings.gpu_layers
    if layers == 0 or wanted == "cpu" or (wanted is None and layers is None):
        return Offload()
    device = find_device(wanted or "auto")
    if device is None:
        if layers in (None, "auto"):
            return Offload()
        raise no_device("There is no device for layers of the LLM", [])
    # The output counts as one more layer.
    if isinstance(layers, int) and layers <= n_layer:
        return Offload(device, layers)
    return Offload(device, ALL_LAYERS)
