"""Wyoming's door is announced on this machine, to it alone, and taken back."""

from __future__ import annotations

import asyncio
import queue
import re
import socket
import struct
import sys
import time
from collections.abc import Iterator

import pytest
from zeroconf import DNSOutgoing, DNSQuestion, ServiceBrowser, Zeroconf
from zeroconf.const import _CLASS_IN, _FLAGS_QR_QUERY, _TYPE_PTR

from edge_audiokv.errors import InputError
from edge_audiokv.server.wyoming.announce import KIND, Announcement

GROUP, PORT = "224.0.0.251", 5353
# Linux's, which Python does not name.
IP_RECVTTL = 12


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


class Seen:
    """What a browser is told, as Home Assistant's is."""

    def __init__(self) -> None:
        self.told: queue.Queue[tuple[str, str]] = queue.Queue()

    def add_service(self, zc: Zeroconf, kind: str, name: str) -> None:
        self.told.put(("added", name))

    def remove_service(self, zc: Zeroconf, kind: str, name: str) -> None:
        self.told.put(("removed", name))

    def update_service(self, zc: Zeroconf, kind: str, name: str) -> None: ...

    def wait_for(self, what: str, name: str) -> None:
        """Others may be announced here, too."""
        deadline = time.monotonic() + 10
        while self.told.get(timeout=max(0.0, deadline - time.monotonic())) != (what, name):
            pass


def ear() -> socket.socket:
    """Hears what is said to the group on loopback, and with which time to live."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        made.setsockopt(socket.SOL_SOCKET, option, 1)
    made.bind((GROUP, PORT))
    member = socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")
    made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    made.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
    made.settimeout(0.2)
    return made


def heard(listening: socket.socket, word: bytes) -> list[int]:
    """The times to live of all packets with `word` in them."""
    found = []
    try:
        while True:
            data, extra, _, _ = listening.recvmsg(9000, 64)
            lives = [it for _, kind, it in extra if kind == socket.IP_TTL and word in data]
            found += [struct.unpack("i", it)[0] for it in lives]
    except TimeoutError:
        return found


@pytest.mark.integration
@pytest.mark.usefixtures("local_model")
def test_a_browser_finds_the_server_and_is_told_of_its_end(command) -> None:
    browsing, seen, name = Zeroconf(interfaces=["127.0.0.1"]), Seen(), f"the study.{KIND}"
    serving = command.start(
        "serve", "--port", 0, "--mem", "600MB", "-t", 1,
        "--wyoming", "tcp://127.0.0.1:0", "--zeroconf", "the study",
    )  # fmt: skip
    try:
        ServiceBrowser(browsing, KIND, listener=seen)
        port = re.search(r"tcp://127\.0\.0\.1:(\d+)", serving.stderr.readline())
        assert port is not None
        seen.wait_for("added", name)
        found = browsing.get_service_info(KIND, name, timeout=3000)
        assert found is not None and found.port == int(port[1])
        assert found.parsed_addresses() == ["127.0.0.1"]
        with socket.create_connection(("127.0.0.1", found.port), timeout=10) as asking:
            asking.sendall(b'{"type": "describe"}\n')
            assert b'"info"' in asking.recv(4096)
        serving.terminate()
        seen.wait_for("removed", name)
        assert serving.wait(30) == 143
    finally:
        serving.kill()
        serving.communicate()
        browsing.close()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a packet's time to live like this")
def test_no_packet_leaves_the_machine(bound) -> None:
    """Neither what it tells by itself nor an answer that is asked for, and for one alone."""
    question = DNSQuestion(KIND, _TYPE_PTR, _CLASS_IN)
    question.unicast = True
    asked = DNSOutgoing(_FLAGS_QR_QUERY)
    asked.add_question(question)
    with ear() as listening, Announcement(bound, "asked for") as told:
        asyncio.run(told.open())
        said = heard(listening, b"asked for")
        assert said and set(said) == {0}
        time.sleep(1.1)  # it says nothing twice within a second
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            asking.bind(("127.0.0.1", PORT))
            loopback = socket.inet_aton("127.0.0.1")
            asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, loopback)
            asking.sendto(asked.packets()[0], (GROUP, PORT))
            answered = heard(listening, b"asked for")
            assert answered and set(answered) == {0}
            asking.settimeout(0.2)
            with pytest.raises(TimeoutError):
                asking.recv(9000)


@pytest.mark.parametrize("name", ["", "a" * 64, "two\nlines", "ü" * 32])
def test_names_that_cannot_be_are_told(bound, name: str) -> None:
    with pytest.raises(InputError) as caught:
        Announcement(bound, name)
    assert "--zeroconf" in caught.value.cure
