"""Wyoming's door is announced to this machine alone; test_serving.py finds a server by it."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
from collections.abc import Iterator

import pytest
from zeroconf import DNSOutgoing, DNSQuestion
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
