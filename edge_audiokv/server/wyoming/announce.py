"""Home Assistant on this machine finds the Wyoming door by itself (zeroconf, which is mDNS).

The door lets in this machine alone, so this machine alone is told: with a time to live of 0 a
packet reaches every program here that listens for announcements, and no network. Another machine
would look for the door on its own loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from types import TracebackType
from typing import Any, Self

from zeroconf import Error, InterfaceChoice, IPVersion, ServiceInfo, Zeroconf

from edge_audiokv.errors import EdgeAudioKVError, InputError

log = logging.getLogger("edge_audiokv.server")
NAME = "edge-audiokv"
KIND = "_wyoming._tcp.local."
# Of one part of a name in DNS.
_MAX_NAME_BYTES = 63


class _HereAlone(Zeroconf):
    """Sends nothing beyond this machine."""

    def async_send(self, out: Any, *_: Any, **__: Any) -> None:
        for sender in self.engine.senders:
            sender.sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
        # To all, also what is an answer to one alone: a packet to one has no such bound.
        super().async_send(out)


class Announcement:
    """A door (see `run.Door`) that only says where Wyoming's is: `bound`, a TCP socket.

    Entered, it has what it needs to speak. Raises InputError for a name that cannot be, and
    EdgeAudioKVError.
    """

    def __init__(self, bound: socket.socket, name: str = NAME) -> None:
        host, port = bound.getsockname()[:2]
        if not name or len(name.encode()) > _MAX_NAME_BYTES or not name.isprintable():
            raise InputError(
                f"{name!r} is no name to be announced by.",
                cure=f"Use up to {_MAX_NAME_BYTES} bytes of printable text: --zeroconf {NAME}",
            )
        address = socket.inet_pton(bound.family, host)
        self._info = ServiceInfo(KIND, f"{name}.{KIND}", port=port, addresses=[address])
        self._zeroconf: Zeroconf | None = None

    def __enter__(self) -> Self:
        try:
            self._zeroconf = _HereAlone(InterfaceChoice.All, ip_version=IPVersion.V4Only)
        except (Error, OSError, RuntimeError) as error:
            raise EdgeAudioKVError(
                f"Nothing can be announced here: {error}.",
                cure="Leave out --zeroconf, and name host and port in Home Assistant.",
            ) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._zeroconf is not None:
            with contextlib.suppress(Error):
                self._zeroconf.close()

    async def open(self) -> None:
        """Tell; a name that somebody has gets a number."""
        if self._zeroconf is None:
            return
        tell = self._zeroconf.register_service
        try:
            await asyncio.to_thread(tell, self._info, allow_name_change=True)
        except Error as error:
            # It is served all the same.
            log.error("Wyoming's port could not be announced: %s", type(error).__name__)

    async def close(self, within_s: float) -> None:
        """Take it back."""
        if self._zeroconf is not None:
            with contextlib.suppress(Error):
                await asyncio.to_thread(self._zeroconf.unregister_all_services)
