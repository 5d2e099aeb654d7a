"""The one place that talks to PortAudio, through sounddevice, imported only when it is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from edge_audiokv.audio.source import Samples
from edge_audiokv.errors import DeviceError, MissingExtraError
from edge_audiokv.noise import caught

# 20 ms: fifty calls a second cost nothing, and no caption notices.
_BLOCK_S = 0.02


@dataclass(frozen=True)
class InputDevice:
    """A device that can record. `index` is PortAudio's and changes when devices come and go."""

    index: int
    name: str
    host_api: str
    channels: int
    rate_hz: int
    is_default: bool = False


# Frames float32 [S, C], valid during the call only, and whether the system lost some before them.
OnFrames = Callable[[Samples, bool], None]


class InputStream(Protocol):
    """A running recording."""

    @property
    def active(self) -> bool:
        """False once the device has ended the stream."""

    def close(self) -> None: ...


class SoundSystem(Protocol):
    """What a microphone needs from the system; tests bring their own."""

    def inputs(self) -> list[InputDevice]: ...

    def start(self, device: InputDevice, channels: int, on_frames: OnFrames) -> InputStream:
        """Record at the device's own rate; DeviceError if it cannot be opened that way."""

    def restart(self) -> None:
        """See the devices that are there now: PortAudio looks only once. Ends every stream."""


class _Stream:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @property
    def active(self) -> bool:
        return bool(self._stream.active)

    def close(self) -> None:
        self._stream.abort(ignore_errors=True)
        self._stream.close(ignore_errors=True)


class PortAudio:
    """The real system."""

    def __init__(self) -> None:
        self._module: Any = None

    def _sounddevice(self) -> Any:
        if self._module is None:
            try:
                with caught("the sound system"):
                    import sounddevice
            except ImportError:
                raise MissingExtraError(
                    "Microphones need the package sounddevice.",
                    cure="Install it: pip install 'edge-audiokv[mic]'",
                ) from None
            except OSError:
                raise DeviceError(
                    "The PortAudio library is not installed.",
                    cure="Install it: apt install libportaudio2 (Debian), "
                    "dnf install portaudio (Fedora).",
                ) from None
            self._module = sounddevice
        return self._module

    def inputs(self) -> list[InputDevice]:
        sounddevice = self._sounddevice()
        try:
            with caught("the sound system"):
                devices = sounddevice.query_devices()
                apis = sounddevice.query_hostapis()
                default = int(sounddevice.default.device[0])
        except sounddevice.PortAudioError as error:
            raise DeviceError(f"PortAudio cannot list the devices: {_reason(error)}.") from None
        if default < 0 and apis:
            default = int(apis[0]["default_input_device"])
        return [
            InputDevice(
                index=index,
                name=str(device["name"]),
                host_api=str(apis[device["hostapi"]]["name"]),
                channels=int(device["max_input_channels"]),
                rate_hz=int(device["default_samplerate"]),
                is_default=index == default,
            )
            for index, device in enumerate(devices)
            if device["max_input_channels"] > 0
        ]

    def start(self, device: InputDevice, channels: int, on_frames: OnFrames) -> InputStream:
        sounddevice = self._sounddevice()

        def callback(frames: Samples, _count: int, _time: object, status: Any) -> None:
            on_frames(frames, bool(status.input_overflow))

        try:
            with caught("the sound system"):
                stream = sounddevice.InputStream(
                    device=device.index,
                    channels=channels,
                    samplerate=device.rate_hz,
                    blocksize=max(1, int(device.rate_hz * _BLOCK_S)),
                    dtype="float32",
                    latency="high",
                    callback=callback,
                )
                stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            raise DeviceError(
                f"The microphone {device.name!r} cannot be opened: {_reason(error)}.",
                cure="Close other programs that use it, or choose another: edge-audiokv devices",
            ) from None
        return _Stream(stream)

    def restart(self) -> None:
        sounddevice = self._sounddevice()
        # sounddevice has no public call for this; both names are stable since 0.3.
        try:
            with caught("the sound system"):
                sounddevice._terminate()
                sounddevice._initialize()
        except sounddevice.PortAudioError as error:
            raise DeviceError(f"PortAudio cannot start again: {_reason(error)}.") from None


def _reason(error: Exception) -> str:
    return str(error.args[0] if error.args else error).rstrip(".")
