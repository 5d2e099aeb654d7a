"""Which microphones there are, which one a person means, and whether it hears anything."""

from __future__ import annotations

from edge_audiokv.audio.live.portaudio import InputDevice
from edge_audiokv.errors import DeviceError

_CHOICES_TO_NAME = 8


def find_input(spec: str | int | None, devices: list[InputDevice]) -> InputDevice:
    """The device with that index, that name, or the only one whose name contains `spec`.

    None means the system's default. Case does not matter. Of equal names on several host APIs
    the default's comes first, then the first. DeviceError names the choices.
    """
    if not devices:
        raise DeviceError(
            "No microphone was found.",
            cure="Plug one in, and check that this user may record (group audio on Linux).",
        )
    if spec is None:
        return next((device for device in devices if device.is_default), devices[0])
    if isinstance(spec, int) or spec.isdecimal():
        for device in devices:
            if device.index == int(spec):
                return device
        raise DeviceError(f"There is no microphone number {spec}.", cure=_choices(devices))
    wanted = spec.casefold()
    exact = [device for device in devices if device.name.casefold() == wanted]
    found = exact or [device for device in devices if wanted in device.name.casefold()]
    if not found:
        raise DeviceError(f"No microphone is called {spec!r}.", cure=_choices(devices))
    if len({device.name for device in found}) > 1:
        raise DeviceError(f"{spec!r} fits several microphones.", cure=_choices(found))
    return next((device for device in found if device.is_default), found[0])


def _choices(devices: list[InputDevice]) -> str:
    named = [f"{device.index} {device.name!r}" for device in devices[:_CHOICES_TO_NAME]]
    more = ", ..." if len(devices) > _CHOICES_TO_NAME else ""
    return f"Choose one of: {', '.join(named)}{more}."
