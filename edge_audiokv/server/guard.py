"""Who may ask: the host that was meant, no page of another site, and the key where there is one.

A web page can send its visitors' browsers to 127.0.0.1: under a name of its own that leads here
(DNS rebinding: the Host header tells), or with a form that needs no permission (Origin tells). So
both are looked at on every request, also on loopback.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from edge_audiokv.server.faults import DENIED, ApiError
from edge_audiokv.server.limits import MAX_HEADER_BYTES

# Whoever asks these learns nothing.
_OPEN_PATHS = frozenset({"/health"})
# Browsers give a WebSocket no headers; OpenAI's clients send the key as a subprotocol from there.
# The page percent-encodes it, since a subprotocol has fewer characters than a key may have.
_KEY_PROTOCOL = "openai-insecure-api-key."
# In a request's state: it came over a Unix socket.
ON_UNIX = "on_unix"
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Guard:
    """`hosts` are the names that this server answers to, lower-case, or none for any, as where a
    key is needed; `port` belongs to them. No browser reaches a Unix socket: there any name will do.
    """

    hosts: frozenset[str] = frozenset()
    port: int | None = None
    key: str | None = None

    @classmethod
    def loopback(cls, port: int, key: str | None = None, names: Iterable[str] = ()) -> Guard:
        return cls(frozenset({*LOOPBACK_NAMES, *names}), port, key)

    def check(self, scope: Scope, open_paths: Collection[str] = ()) -> None:
        """Raises ApiError 400, 401, 403 or 431. `open_paths` want no key."""
        # What comes in one piece was parsed, however long it is.
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
            raise ApiError(431, "the headers are too large.", code="headers_too_large")
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not hosts[0]:
            raise ApiError(400, "a request needs one Host header.", code="bad_host")
        on_unix = scope.get("state", {}).get(ON_UNIX, False)
        if self.hosts and not on_unix and not self._is_ours(hosts[0]):
            raise ApiError(
                403,
                "this server does not answer to that host name.",
                kind="permission_error",
                code="bad_host",
            )
        self._check_origin(headers, hosts[0])
        is_open = scope["path"] in _OPEN_PATHS or scope["path"] in open_paths
        if self.key is not None and not is_open:
            self._check_key(headers, scope.get("subprotocols", ()), self.key)

    def _is_ours(self, authority: str) -> bool:
        try:
            parts = urlsplit(f"//{authority}")
            name, port = parts.hostname, parts.port
        except ValueError:
            return False
        plain = parts.username is None and not parts.path and not parts.query
        return plain and name in self.hosts and (80 if port is None else port) == self.port

    def _check_origin(self, headers: Headers, host: str) -> None:
        foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        own = {f"http://{host.lower()}"}
        if self.key is not None and not self.hosts:
            # Open to the network: TLS comes from a proxy, and the key, not a name, lets in.
            own.add(f"https://{host.lower()}")
        for origin in headers.getlist("origin"):
            # Compared as it is: what is no URL is nobody's page, and must not raise.
            foreign = foreign or origin.lower() not in own
        if foreign:
            raise ApiError(
                403,
                "pages of other sites may not ask this server.",
                kind="permission_error",
                code="bad_origin",
            )

    def _check_key(self, headers: Headers, subprotocols: Iterable[str], key: str) -> None:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            given = headers.get("x-api-key", "")
        told = [given.strip()]
        for protocol in subprotocols:
            if protocol.startswith(_KEY_PROTOCOL):
                offered = protocol.removeprefix(_KEY_PROTOCOL)
                told += [offered, unquote(offered)]
        if not any(hmac.compare_digest(one.encode(), key.encode()) for one in told):
            raise ApiError(
                401,
                "the API key is missing or wrong; send it as `Authorization: Bearer KEY`.",
                kind=DENIED,
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )
