"""Which device the settings mean, and what of the LLM goes there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_audiokv.engine.offload import Offload, offload_of
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.errors import NativeError
from edge_audiokv.models.gguf import GGUFHeader
from edge_audiokv.native import compute
from edge_audiokv.native.compute import ComputeDevice
from edge_audiokv.native.model import ALL_LAYERS

CARD = ComputeDevice("CUDA0", "A card", "gpu", 6 * 10**9, 8 * 10**9, unified=False, handle=1)
CHIP = ComputeDevice("Vulkan1", "Part of a chip", "integrated", 0, 8 * 10**9, True, handle=2)
CPU = ComputeDevice("CPU", "A chip", "cpu", 0, 16 * 10**9, unified=True, handle=3)
N_LAYER = 30
GB = 10**9


def header(file_bytes: int = 4 * GB, block_bytes: int = 3 * GB) -> GGUFHeader:
    keys = {"general.architecture": "llama", "llama.block_count": N_LAYER}
    return GGUFHeader(
        Path("model.gguf"), 3, 300, keys, file_bytes, "", tensor_bytes={"blk.0": block_bytes}
    )


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "compute_devices", lambda: [CARD, CHIP, CPU])


@pytest.fixture
def neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "compute_devices", lambda: [CPU])


def offload(
    name: str | None = None,
    layers: int | str | None = None,
    mem: str | None = None,
    cache: str = "auto",
) -> Offload:
    settings = EngineSettings(compute=name, gpu_layers=layers, gpu_mem=mem, kv_device=cache)
    return offload_of(settings, header())


@pytest.mark.parametrize(
    ("name", "layers"), [(None, None), ("cpu", None), ("auto", 0), (None, 0), ("cpu", "auto")]
)
def test_the_cpu_needs_no_device(both: None, name: str | None, layers: int | str | None) -> None:
    assert offload(name, layers) == Offload()
    assert not Offload().takes_cache and Offload().row_multiple == 64


@pytest.mark.parametrize(
    ("name", "layers", "device", "n_layers"),
    [
        (None, "all", CARD, ALL_LAYERS),
        (None, "auto", CARD, ALL_LAYERS),
        ("auto", None, CARD, ALL_LAYERS),
        ("vulkan1", None, CHIP, ALL_LAYERS),
        ("Vulkan1", 12, CHIP, 12),
        (None, N_LAYER, CARD, N_LAYER),
        # The output counts as one more layer.
        (None, N_LAYER + 1, CARD, ALL_LAYERS),
        (None, 999, CARD, ALL_LAYERS),
    ],
)
def test_a_device_is_named_or_the_first(
    both: None, name: str | None, layers: int | str | None, device: ComputeDevice, n_layers: int
) -> None:
    found = offload(name, layers)
    assert (found.device, found.n_layers) == (device, n_layers)
    assert found.takes_cache == (n_layers == ALL_LAYERS)
    assert found.row_multiple == (256 if found.takes_cache else 64)


def test_auto_makes_do_with_the_cpu(neither: None) -> None:
    for name, layers in ((None, "auto"), ("auto", None), ("auto", "auto")):
        assert offload(name, layers) == Offload()


@pytest.mark.parametrize(
    ("name", "layers", "told"),
    [
        (None, "all", "There is no device for layers of the LLM: the native library was built"),
        ("auto", 3, "There is no device for layers of the LLM"),
        ("CUDA0", None, "There is no compute device 'CUDA0': the native library was built for"),
    ],
)
def test_what_is_not_there_is_refused_with_how_to_build_it(
    neither: None, name: str | None, layers: int | str | None, told: str
) -> None:
    with pytest.raises(NativeError, match=told) as error:
        offload(name, layers)
    assert "EDGE_AUDIOKV_BACKEND=vulkan pip install ." in error.value.cure


def test_a_wrong_name_is_told_with_the_right_ones(both: None) -> None:
    with pytest.raises(NativeError, match="there are CUDA0, Vulkan1"):
        offload("CUDA1")
    # The CPU's own entry is no place for layers.
    with pytest.raises(NativeError, match="no compute device 'CPU0'"):
        offload("CPU0")


def test_what_is_free_is_the_cap_but_for_a_margin(both: None) -> None:
    assert offload("CUDA0").cap_bytes == 6 * GB - 400_000_000
    assert offload("CUDA0", mem="2GB").cap_bytes == 2 * GB
    assert offload("CUDA0", mem="50%").cap_bytes == 4 * GB


@pytest.mark.parametrize(
    ("mem", "n_layers"),
    [
        # Four gigabytes and slack of them, beside a tenth for the cache.
        ("8GB", ALL_LAYERS),
        ("4.7GB", ALL_LAYERS),
        ("4.6GB", 30),
        ("2GB", 7),
        ("1.4GB", 1),
        ("1GB", 0),
    ],
)
def test_auto_takes_what_fits(both: None, mem: str, n_layers: int) -> None:
    found = offload("CUDA0", "auto", mem)
    assert found.n_layers == n_layers
    assert (found.device is None) == (n_layers == 0)
    if n_layers:
        taken = found.device_share * 4 * GB * 1.05
        assert taken <= 0.9 * found.cap_bytes


def test_what_lies_where(both: None) -> None:
    whole = offload("CUDA0", "all")
    # The embeddings are read here, and there they write.
    assert (whole.host_share, whole.device_share) == (0.25, 1.0)
    half = offload("CUDA0", 16)
    assert (half.host_share, half.device_share) == pytest.approx((0.625, 0.625))
    assert not half.takes_cache
    share = whole.share({"weights": 1})
    assert share is not None and share.takes_cache
    one = offload("Vulkan1", "all")
    assert one.share({"weights": 1}) is None and one.host_share == 1.0


def test_the_cache_alone_may_stay_here(both: None) -> None:
    whole, here = offload("CUDA0", "all"), offload("CUDA0", "all", cache="cpu")
    assert here.takes_all and not here.takes_cache and here.row_multiple == 64
    assert (here.host_share, here.device_share) == (whole.host_share, whole.device_share)
    share = here.share({"weights": 1})
    assert share is not None and not share.takes_cache
    # Nothing there to keep a tenth of it for: what needs 4.7GB with a cache fits into less.
    assert offload("CUDA0", "auto", "4.6GB").n_layers == 30
    assert offload("CUDA0", "auto", "4.6GB", cache="cpu").n_layers == ALL_LAYERS
    # Where nothing is on a device it changes nothing.
    assert offload(cache="cpu") == Offload()


def test_one_memory_has_one_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Software devices, and those that have no memory of their own."""
    for device in (CHIP, replace(CARD, unified=True)):
        monkeypatch.setattr(compute, "compute_devices", lambda device=device: [device, CPU])
        assert offload("auto", mem="1GB").n_layers == ALL_LAYERS
        assert not offload("auto").is_apart
