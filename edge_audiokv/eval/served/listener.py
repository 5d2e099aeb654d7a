"""A session of a server, which hears what a client of it sends."""

from __future__ import annotations

import time
from collections.abc import Sequence

from edge_audiokv.audio.source import Samples
from edge_audiokv.errors import EdgeAudioKVError
from edge_audiokv.eval.listener import Books, Totals
from edge_audiokv.eval.served.client import LiveClient
from edge_audiokv.eval.served.process import ServerProcess
from edge_audiokv.events import Answer, Final

# So much more is sent than was heard: the model never waits for its client, and texts that may
# change are left out, as where no client asks for them.
_AHEAD_S = 6.0
_POLL_S, _PATIENCE_S = 0.05, 120.0


class ServedListener:
    """The one live client of `server`, from its first sound to `close`."""

    def __init__(self, server: ServerProcess, *, longest_s: float = 15.0) -> None:
        self.server = server
        self.cap_bytes = server.settings.cap_bytes
        self.longest_s = longest_s
        self._client: LiveClient | None = None
        self._n_taken = 0

    def feed(self, samples: Samples) -> Sequence[Final]:
        client = self._open()
        client.send(samples)
        self._wait_until(client.sent_s - _AHEAD_S)
        return self._finals(client)

    def finish(self) -> Sequence[Final]:
        client = self._open()
        client.hear_out()
        return self._finals(client)

    def ask(self, question: str) -> Answer:
        """Where an answer comes from is not told to live clients."""
        client = self._open()
        return Answer(question, client.ask(question), client.sent_s)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def books(self) -> Books:
        rss_bytes, anonymous_bytes, _ = self.server.kernel_bytes()
        told = self.server.memory()
        rows = sum(session["rows"] for session in told["sessions"])
        return Books(rss_bytes, anonymous_bytes, sum(told["parts"].values()), rows)

    def totals(self) -> Totals:
        counted = self.server.metrics()
        return Totals(
            self.server.kernel_bytes()[2],
            int(counted["position_shifts_total"]),
            int(counted["evictions_total"]),
            int(counted["evicted_bytes_total"]),
            int(counted["flagged_texts_total"]),
        )

    def _open(self) -> LiveClient:
        if self._client is None:
            self._client = LiveClient(self.server.realtime_url).open()
        return self._client

    def _wait_until(self, heard_s: float) -> None:
        give_up_s = time.monotonic() + _PATIENCE_S
        while self.server.memory()["time_s"] < heard_s:
            if time.monotonic() > give_up_s:
                raise EdgeAudioKVError(f"The server has heard nothing for {_PATIENCE_S:.0f} s.")
            time.sleep(_POLL_S)

    def _finals(self, client: LiveClient) -> list[Final]:
        told = client.told[self._n_taken :]
        first, self._n_taken = self._n_taken, self._n_taken + len(told)
        return [
            Final(number, each.start_s, each.end_s, each.text)
            for number, each in enumerate(told, first)
        ]
