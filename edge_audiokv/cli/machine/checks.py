"""What `doctor` looks at: each check gives facts, and a problem with its cure if there is one."""

from __future__ import annotations

import difflib
import math
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edge_audiokv import __version__
from edge_audiokv.cli.wording import as_flags
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.errors import (
    DeviceError,
    EdgeAudioKVError,
    InputError,
    MemoryBudgetError,
    MissingExtraError,
    ModelError,
)
from edge_audiokv.units import format_bytes, format_cap

_PREFIX = "EDGE_AUDIOKV_"
# What the package, its build and its tests read, beside the options of the commands.
_OWN_VARIABLES = (
    "CACHE",
    "OFFLINE",
    "LIB_DIR",
    "LIB_NAME",
    "SHARED",
    "BACKEND",
    "BUILD_STOCK",
    "LLAMA_SDIST",
    "NATIVE_CPU",
    "CPU_VARIANTS",
    "OPENMP",
)
_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}


@dataclass
class Check:
    """One thing that was looked at. `facts` are JSON-ready; `problem` is None if all is well."""

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    problem: EdgeAudioKVError | None = None

    def to_dict(self) -> dict[str, Any]:
        problem = self.problem
        return {
            "name": self.name,
            "ok": problem is None,
            "facts": self.facts,
            "problem": as_flags(problem.what) if problem else None,
            "cure": as_flags(problem.cure) if problem else None,
            "exit_code": problem.exit_code if problem else 0,
        }


def run_check(name: str, look: Callable[[dict[str, Any]], None]) -> Check:
    """Let `look` fill in facts; an error of ours that it raises is the problem."""
    check = Check(name)
    try:
        look(check.facts)
    except EdgeAudioKVError as error:
        check.problem = error
    return check


def program(facts: dict[str, Any]) -> None:
    """Version, Python and machine."""
    facts["version"] = __version__
    facts["python"] = platform.python_version()
    facts["machine"] = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def environment(facts: dict[str, Any], known: list[str]) -> None:
    """Variables that are set; InputError for one that nothing reads."""
    names = {*known, *(_PREFIX + name for name in _OWN_VARIABLES)}
    ours = {name: value for name, value in sorted(os.environ.items()) if name.startswith(_PREFIX)}
    # What is shown may be posted: a key is not.
    facts.update({name: "set" if name.endswith("_KEY") else ours[name] for name in ours})
    for name in ours:
        if name not in names:
            close = difflib.get_close_matches(name, sorted(names), 1)
            raise InputError(
                f"Nothing reads the variable {name}.",
                cure=f"Did you mean {close[0]}?" if close else "Unset it.",
            )


def onnxruntime(facts: dict[str, Any], provider: str) -> None:
    """onnxruntime, its providers, and the voice detector run for real."""
    import numpy as np
    import onnxruntime as ort

    from edge_audiokv.audio.vad import FRAME_SAMPLES, VoiceDetector

    facts["version"] = ort.__version__
    facts["providers"] = ort.get_available_providers()
    if _PROVIDERS[provider] not in facts["providers"]:
        raise MissingExtraError(
            f"onnxruntime has no {_PROVIDERS[provider]} here.",
            cure="Install the onnxruntime package that has it, or use --provider cpu.",
        )
    detector = VoiceDetector().load()
    silence = np.zeros((1, FRAME_SAMPLES), np.float32)
    facts["voice detector"] = f"works, {detector.probabilities(silence)[0]:.3f} for silence"
    detector.close()


def native(facts: dict[str, Any], engine: EngineSettings) -> None:
    """Our llama.cpp: where it is, what it was built from, what the CPU can do, and whether the
    device is there that the LLM shall run on.
    """
    from edge_audiokv.engine.offload import device_of
    from edge_audiokv.native import bindings, library
    from edge_audiokv.native.compute import compute_devices

    facts["folder"] = str(library.directory())
    loaded = library.load()
    facts["llama.cpp"] = loaded.upstream
    facts["patch level"] = loaded.patch_level
    facts["ABI"] = bindings.ABI
    facts["CPU code"] = f"for {loaded.cpu}, chosen here" if loaded.cpu else "as it was built"
    info = loaded.llama.llama_print_system_info().decode("utf-8", "replace")
    facts["features"] = " ".join(info.replace("|", " ").split())
    facts["compute devices"] = [
        f"{device.name} ({device.description})" for device in compute_devices()
    ]
    device = device_of(engine)
    facts["the LLM runs on"] = "CPU" if device is None else device.name
    if device is not None and engine.kv_device == "cpu":
        facts["the cache lies on"] = "CPU"


def model(facts: dict[str, Any], name: str) -> None:
    """The model's files: here, of the right size, and with the right SHA-256."""
    from edge_audiokv.models import catalog, download
    from edge_audiokv.native.probe import check_in_child

    entry = catalog.resolve(name)
    facts["name"], facts["size"] = entry.name, format_bytes(entry.size_bytes)
    for file in entry.files:
        path = download.local_path(entry, file)
        here = "" if path.is_file() else ", not here"
        facts[file.role] = f"sha256 {(file.sha256 or 'not stated')[:12]}, {path}{here}"
    if not download.is_present(entry):
        missing = format_bytes(download.missing_bytes(entry))
        raise ModelError(
            f"{entry.name} is not here yet, or not whole: {missing} are to be fetched.",
            cure="The first command that needs it fetches them; to do it now:"
            f" edge-audiokv pull {entry.name}",
        )
    facts["verified"] = download.ensure(entry, whole=True, check=check_in_child).model_hash


# What commands are called where their caps are told.
_COMMANDS = {
    "transcribe": "to transcribe",
    "listen": "to listen to files, ask",
    "microphone": "to listen to a microphone",
    "serve": "to serve, with --events",
}


def memory(facts: dict[str, Any], engine: EngineSettings, *, microphone: bool) -> None:
    """Load a session for real: the sum, the kernel's figure, and the smallest caps that work."""
    from edge_audiokv.cli.machine.smallest import load, smallest
    from edge_audiokv.kv.memory import total_memory_bytes

    facts["this machine"] = format_bytes(total_memory_bytes())
    found = smallest(engine, [kind for kind in _COMMANDS if microphone or kind != "microphone"])
    least = {kind: _round_mb(cap.mb) for kind, cap in found.items()}
    facts["smallest --mem"] = {_COMMANDS[kind]: f"{mb}MB" for kind, mb in least.items()}
    if any(cap.reads_mb for cap in found.values()):
        facts["--mem for its best text"] = {
            _COMMANDS[kind]: f"{_round_mb(cap.reads_mb)}MB" for kind, cap in found.items()
        }
    facts["--mem"] = format_cap(engine.cap_bytes)
    listens_mb = found["listen"].mb if "listen" in found else 0
    if engine.cap_bytes < listens_mb * 1_000_000:
        every = ", ".join(f"{mb}MB {_COMMANDS[kind]}" for kind, mb in least.items())
        raise MemoryBudgetError(
            f"mem={engine.mem!r} is too little to listen.",
            cure=f"Use --mem with what the command takes, or more ({every}), or a smaller model.",
            required_bytes=least["listen"] * 1_000_000,
        )
    loaded = load(engine)
    facts["parts"] = {name: format_bytes(size) for name, size in loaded.parts.items()}
    facts["parts"]["slack"] = format_bytes(loaded.slack_bytes)
    facts["sum"] = format_bytes(sum(loaded.parts.values()) + loaded.slack_bytes)
    facts["peak RSS"] = format_bytes(loaded.peak_bytes)


def _round_mb(size_mb: int) -> int:
    """Up, to what starts do not differ by: a command that refuses may name a little less."""
    return math.ceil(size_mb / 10) * 10


def microphone(facts: dict[str, Any], *, listen_s: float = 0.5) -> None:
    """PortAudio, the default input, and whether it gives more than digital silence."""
    from edge_audiokv.audio.level import FLOOR_DBFS
    from edge_audiokv.audio.live.devices import find_input
    from edge_audiokv.audio.live.microphone import MicrophoneSource, hear_level
    from edge_audiokv.audio.live.portaudio import PortAudio

    system = PortAudio()
    devices = system.inputs()
    facts["microphones"] = len(devices)
    device = find_input(None, devices)
    facts["default"] = f"{device.name}, {device.rate_hz} Hz, {device.channels} channels"
    level = hear_level(MicrophoneSource(system=system), listen_s)
    cells = round(20 * min(1.0, max(0.0, 1 + level.rms_dbfs / 60)))
    facts["level"] = f"{'#' * cells}{'.' * (20 - cells)} {level.rms_dbfs:.0f} dBFS"
    if level.peak_dbfs <= FLOOR_DBFS:
        raise DeviceError(
            "The microphone gives only digital silence.",
            cure="Is it muted? Allow this terminal to record in the system's privacy settings.",
        )
