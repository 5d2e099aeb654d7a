"""A microphone that may be 48 kHz only, be unplugged, and come back.

The audio callback copies into a ring and returns; resampling and everything else happen in the
reader's thread. PortAudio tells nobody that a device has gone, so frames that stop coming are the
sign; its list of devices is made once, so that looking again means starting it again.
"""

from __future__ import annotations

import numpy as np

from edge_audiokv.audio.level import Health, Level, LiveHealth, measure
from edge_audiokv.audio.live.devices import find_input
from edge_audiokv.audio.live.portaudio import InputDevice, InputStream, PortAudio, SoundSystem
from edge_audiokv.audio.live.ring import Ring
from edge_audiokv.audio.resample import StreamResampler, to_mono
from edge_audiokv.audio.source import (
    SAMPLE_RATE_HZ,
    AudioSource,
    Clock,
    Samples,
    SystemClock,
)
from edge_audiokv.errors import DeviceError
from edge_audiokv.events import DeviceLost, DeviceRestored, Overflow, Warned

_POLL_S = 0.01
_MAX_RETRY_S = 5.0
# A device that has just been opened may take its time: Bluetooth and sleeping servers do.
_FIRST_FRAMES_S = 5.0


class _Recording:
    """One opened stream with its ring; a callback that comes late writes only to its own."""

    def __init__(self, device: InputDevice, channels: int, ring_s: float) -> None:
        self.device = device
        self.ring = Ring(max(1, int(ring_s * device.rate_hz)), channels)
        self.resampler = StreamResampler(device.rate_hz)
        self.system_losses = 0
        self.heard = False
        self.told_dropped = 0
        self.told_losses = 0
        self.stream: InputStream | None = None

    def on_frames(self, frames: Samples, lost_before: bool) -> None:
        """The callback: copy, count, return."""
        self.ring.write(frames)
        if lost_before:
            self.system_losses += 1

    def close(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close()


class MicrophoneSource(AudioSource):
    """`device` is an index, a name or part of one; None is the system's default.

    A read waits at most `wait_s` and may come back empty. When the device goes (its stream ends,
    or no frame comes for `lost_after_s`) there is one DeviceLost; when frames come again, after
    trying to open it by name with growing pauses from `retry_s`, one DeviceRestored. Restarting
    PortAudio to look for it ends any other PortAudio stream of this process.
    """

    realtime = True

    def __init__(
        self,
        device: str | int | None = None,
        *,
        ring_s: float = 30.0,
        wait_s: float = 0.1,
        lost_after_s: float = 2.0,
        retry_s: float = 1.0,
        system: SoundSystem | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__()
        self._wanted = device
        self._ring_s = ring_s
        self._wait_s = wait_s
        self._lost_after_s = lost_after_s
        self._retry_s = retry_s
        self._system = system or PortAudio()
        self._clock = clock or SystemClock()
        self._recording: _Recording | None = None
        self._device: InputDevice | None = None
        self._lost = False
        self._last_frames_s = 0.0
        self._next_try_s = 0.0
        self._pause_s = retry_s
        self._ready: Samples = np.zeros(0, np.float32)
        self._health = LiveHealth()

    @property
    def name(self) -> str:
        """The device's name; empty before `open()`."""
        return self._device.name if self._device else ""

    @property
    def device(self) -> InputDevice | None:
        """What was opened, with its own rate and channels."""
        return self._device

    def check(self) -> None:
        """DeviceError if there is no such device; records nothing."""
        find_input(self._wanted, self._system.inputs())

    def open(self) -> None:
        """Start to record. DeviceError if there is no such device or it does not open."""
        if self._device is not None:
            return
        device = find_input(self._wanted, self._system.inputs())
        self._start(device)
        self._device = device
        self._lost = False

    def close(self) -> None:
        if self._recording is not None:
            self._recording.close()
            self._recording = None
        self._device = None
        self._ready = np.zeros(0, np.float32)

    def _start(self, device: InputDevice) -> None:
        """Open `device` as stereo or less, for some report 32 channels; as it is if it must."""
        tries = dict.fromkeys((min(2, device.channels), device.channels, 1))
        failure: DeviceError | None = None
        for channels in tries:
            recording = _Recording(device, channels, self._ring_s)
            try:
                recording.stream = self._system.start(device, channels, recording.on_frames)
            except DeviceError as error:
                failure = failure or error
                continue
            self._recording = recording
            self._last_frames_s = self._clock.now()
            return
        if failure is not None:
            raise failure

    def _read(self, max_samples: int) -> Samples | None:
        if self._device is None:
            raise DeviceError("The microphone is not open.", cure="Call open() first.")
        give_up_s = self._clock.now() + self._wait_s
        while not len(self._ready):
            if self._recording is None:
                self._try_again()
            else:
                self._ready = self._take(self._recording, max_samples)
            if len(self._ready) or self._clock.now() >= give_up_s:
                break
            self._clock.sleep(_POLL_S)
        samples, self._ready = self._ready[:max_samples], self._ready[max_samples:]
        return samples

    def _take(self, recording: _Recording, max_samples: int) -> Samples:
        """What the ring holds, as 16 kHz mono; also notices that the device is gone."""
        # Asked before the ring is read: frames of a stream that then ended are not lost.
        alive = recording.stream is not None and recording.stream.active
        now_s = self._clock.now()
        wanted = -(-max_samples * recording.device.rate_hz // SAMPLE_RATE_HZ)
        frames = recording.ring.read(wanted)
        self._tell_losses(recording)
        if len(frames):
            self._last_frames_s = now_s
            recording.heard = True
            if self._lost:
                self._lost = False
                self._pause_s = self._retry_s
                self._events.append(DeviceRestored(self.clock_s, recording.device.name))
            for message in self._health.messages(frames, self.clock_s):
                self._events.append(Warned(self.clock_s, f"{self.name}: {message}."))
            return recording.resampler.push(to_mono(Health().check(frames)))
        patience_s = self._lost_after_s if recording.heard else _FIRST_FRAMES_S
        if alive and now_s - self._last_frames_s <= patience_s:
            return frames[:, 0]
        return self._lose(recording)

    def _lose(self, recording: _Recording) -> Samples:
        """Let a dead stream go; gives the sound that its resampler still holds."""
        recording.close()
        self._recording = None
        if not self._lost:
            self._lost = True
            self._pause_s = self._retry_s
            self._events.append(DeviceLost(self.clock_s, recording.device.name))
        self._next_try_s = self._clock.now() + self._pause_s
        return recording.resampler.push(np.zeros(0, np.float32), last=True)

    def _try_again(self) -> None:
        if self._device is None or self._clock.now() < self._next_try_s:
            return
        try:
            self._system.restart()
            device = self._find_again(self._device.name, self._system.inputs())
            self._start(device)
            self._device = device
        except DeviceError:
            self._recording = None
        self._pause_s = min(2 * self._pause_s, _MAX_RETRY_S)
        self._next_try_s = self._clock.now() + self._pause_s

    def _find_again(self, name: str, devices: list[InputDevice]) -> InputDevice:
        """By name, for the old index may be another device now; or the system's new default."""
        defaults = [device for device in devices if device.is_default]
        try:
            return find_input(name, devices)
        except DeviceError:
            if self._wanted is None and defaults:
                return defaults[0]
            raise

    def _tell_losses(self, recording: _Recording) -> None:
        dropped = recording.ring.dropped - recording.told_dropped
        if dropped:
            recording.told_dropped += dropped
            samples = round(dropped * SAMPLE_RATE_HZ / recording.device.rate_hz)
            self._events.append(Overflow(self.clock_s, max(1, samples)))
        losses = recording.system_losses - recording.told_losses
        if losses and not recording.told_losses:
            self._events.append(
                Warned(self.clock_s, f"{self.name}: the sound system lost input; is it too busy?")
            )
        recording.told_losses += losses

    @property
    def waiting_s(self) -> float:
        """Seconds of sound that have come; 0 while there is no device."""
        recording = self._recording
        held_s = len(recording.ring) / recording.device.rate_hz if recording else 0.0
        return held_s + len(self._ready) / SAMPLE_RATE_HZ

    @property
    def nbytes(self) -> int:
        """Bytes of sound that can be held, fixed while a device is open."""
        ring_bytes = self._recording.ring.nbytes if self._recording else 0
        return ring_bytes + int(self._ready.nbytes)


def hear_level(source: MicrophoneSource, duration_s: float, clock: Clock | None = None) -> Level:
    """The loudest tenth of a second in `duration_s`, for meters; opens and closes `source`."""
    clock = clock or SystemClock()
    loudest = measure(np.zeros(0, np.float32))
    with source:
        end_s = clock.now() + duration_s
        while clock.now() < end_s:
            samples = source.read()
            if samples is not None:
                loudest = max(loudest, measure(samples), key=lambda level: level.peak_dbfs)
    return loudest
