"""HTTP fetches: resumed, bounded, and honest about what went wrong."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_audiokv.errors import DownloadError
from edge_audiokv.models import http
from edge_audiokv.models.http import TRIES, fetch_url

from . import hostile
from .server import Faults, serve

DATA = random.Random(0).randbytes(1_000_000)


@pytest.fixture
def served() -> Iterator[tuple[str, Faults]]:
    with serve(DATA) as pair:
        yield pair


def test_a_whole_file_arrives_and_progress_never_falls(
    served: tuple[str, Faults], tmp_path: Path
) -> None:
    seen: list[int] = []
    fetch_url(served[0], tmp_path / "new" / "x.part", len(DATA), seen.append)
    assert (tmp_path / "new" / "x.part").read_bytes() == DATA
    assert seen == sorted(seen) and seen[-1] == len(DATA)


def test_a_broken_connection_is_resumed_where_it_stopped(
    served: tuple[str, Faults], tmp_path: Path
) -> None:
    url, faults = served
    faults.cuts, faults.cut_after = 2, 300_000
    fetch_url(url, tmp_path / "x.part", len(DATA))
    assert (tmp_path / "x.part").read_bytes() == DATA
    assert faults.requests == [None, "bytes=300000-", "bytes=600000-"]
    assert faults.sent_bytes == len(DATA)


def test_a_part_of_an_earlier_run_is_used(served: tuple[str, Faults], tmp_path: Path) -> None:
    url, faults = served
    (tmp_path / "x.part").write_bytes(DATA[:999_000])
    fetch_url(url, tmp_path / "x.part", len(DATA))
    assert (tmp_path / "x.part").read_bytes() == DATA and faults.sent_bytes == 1000


@pytest.mark.parametrize("fault", ["ranges", "wrong_range", "too long"])
def test_a_part_that_cannot_be_continued_is_begun_again(
    served: tuple[str, Faults], tmp_path: Path, fault: str
) -> None:
    url, faults = served
    part = tmp_path / "x.part"
    part.write_bytes(b"?" * (len(DATA) + 5 if fault == "too long" else 1000))
    faults.ranges = fault != "ranges"
    faults.wrong_range = fault == "wrong_range"
    fetch_url(url, part, len(DATA))
    assert part.read_bytes() == DATA


def test_a_complete_part_asks_nothing(served: tuple[str, Faults], tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(DATA)
    fetch_url(served[0], tmp_path / "x.part", len(DATA))
    assert served[1].requests == []


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (503, TRIES)])
def test_refusals_end_at_once_and_faults_after_a_few_tries(
    served: tuple[str, Faults], tmp_path: Path, status: int, tries: int
) -> None:
    served[1].status = status
    with pytest.raises(DownloadError, match=str(status)):
        fetch_url(served[0], tmp_path / "x.part", len(DATA))
    assert len(served[1].requests) == tries


def test_a_connection_that_always_breaks_is_given_up_and_the_part_kept(
    served: tuple[str, Faults], tmp_path: Path
) -> None:
    served[1].cuts, served[1].cut_after = 99, 10
    with pytest.raises(DownloadError, match="kept closing"):
        fetch_url(served[0], tmp_path / "x.part", len(DATA))
    assert (tmp_path / "x.part").read_bytes() == DATA[: 10 * TRIES]


def test_a_file_of_another_size_is_refused_before_it_is_fetched(
    served: tuple[str, Faults], tmp_path: Path
) -> None:
    with pytest.raises(DownloadError, match="1000000 bytes, not 5"):
        fetch_url(served[0], tmp_path / "x.part", 5)


def test_a_host_that_does_not_answer_is_told(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.raises(DownloadError, match="refused"):
        fetch_url(f"http://127.0.0.1:{port}/x", tmp_path / "x.part", 5)


def test_two_fetches_of_one_file_do_not_mix(served: tuple[str, Faults], tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / "x.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="Another process"):
            fetch_url(served[0], tmp_path / "x.part", len(DATA))


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "http://192.0.2.1/x",
        "ftp://127.0.0.1/x",
        "http://[::1",
        "http://a..b/x",
        "https://user:word@127.0.0.1/x",
        "http://h\u00f6st/x",
        "//",
    ],
)
def test_a_redirect_to_where_no_entry_may_point_is_not_followed(
    served: tuple[str, Faults], tmp_path: Path, location: str
) -> None:
    url, faults = served
    faults.location = location
    with pytest.raises(DownloadError, match="Cannot fetch"):
        fetch_url(url, tmp_path / "x.part", len(DATA))


def test_redirects_in_a_circle_end(served: tuple[str, Faults], tmp_path: Path) -> None:
    url, faults = served
    faults.location = url
    with pytest.raises(DownloadError):
        fetch_url(url, tmp_path / "x.part", len(DATA))
    assert len(faults.requests) <= 6 * TRIES


@pytest.mark.parametrize("length", ["abc", "9" * 5000, "-1", "1e6", "\u0663"])
def test_a_length_that_is_no_number_is_an_answer_like_any_other(
    served: tuple[str, Faults], tmp_path: Path, length: str
) -> None:
    url, faults = served
    faults.length = length.encode("utf-8").decode("latin-1")
    try:
        fetch_url(url, tmp_path / "x.part", len(DATA))
    except DownloadError:
        return
    assert (tmp_path / "x.part").read_bytes() == DATA


FLOODS = {
    "header lines": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "one header line": (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 4096),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "the status line": (b"", b"y"),
    "the file": (b"HTTP/1.1 200 OK\r\n\r\n", b"y" * 65536),
    "what comes with a refusal": (b"HTTP/1.1 404 No\r\n\r\n", b"y" * 65536),
    "what comes with a redirect": (b"HTTP/1.1 302 Found\r\nLocation: URL\r\n\r\n", b"y" * 65536),
    "tiny chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\ny\r\n"),
    "trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"X: y\r\n",
    ),
}


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
@pytest.mark.parametrize("what", list(FLOODS))
def test_what_has_no_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, pause_s: float
) -> None:
    monkeypatch.setattr(http, "PATIENCE_S", 0.2)
    monkeypatch.setattr(http, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(http, "_SPARE_BYTES", 20_000)
    head, flood = FLOODS[what]
    manners = hostile.Manners([head], flood, pause_s)
    begun_s = time.monotonic()
    with hostile.serve(manners) as url:
        manners.answers = [head.replace(b"URL", url.encode())]
        with pytest.raises(DownloadError, match="Cannot fetch") as caught:
            fetch_url(url, tmp_path / "x.part", 1000)
    assert time.monotonic() - begun_s < hostile.MAX_FLOOD_S / 2
    # What a socket and its buffers hold goes out before anybody can tell.
    assert manners.sent_bytes < manners.requests * (16 << 20)
    assert str(caught.value).isprintable()


def test_a_slow_server_is_waited_for_as_long_as_it_sends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "PATIENCE_S", 0.2)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n"
    with hostile.serve(hostile.Manners([head], b"y" * 1000, 0.05)) as url:
        fetch_url(url, tmp_path / "x.part", 20_000)
    assert (tmp_path / "x.part").read_bytes() == b"y" * 20_000
