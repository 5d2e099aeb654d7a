"""The page's files: which there are, who gets them, and what their headers forbid."""

from __future__ import annotations

import re

import pytest

from edge_audiokv.server.guard import Guard
from edge_audiokv.server.page import files
from tests.server.scripted import Server, refusal

KEY = "0123456789abcdef"


@pytest.fixture
def paged(make_server):
    def make(guard: Guard | None = None) -> Server:
        made: Server = make_server(guard, page=True)
        return made

    return make


def directives(header: str) -> dict[str, list[str]]:
    return {name: values for name, *values in (part.split() for part in header.split("; "))}


def test_every_file_is_served_as_what_it_is(paged) -> None:
    server = paged()
    for path, name in files.PATHS.items():
        response = server.request("GET", path)
        assert response.status_code == 200, path
        assert response.content == files.read(name) and response.content
        kind = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
        suffix = name.rpartition(".")[2]
        assert response.headers["content-type"].startswith(kind.get(suffix, "image/svg+xml"))
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["referrer-policy"] == "no-referrer"


def test_the_policy_lets_nothing_in_from_elsewhere(paged) -> None:
    server = paged()
    for path in files.PATHS:
        policy = directives(server.request("GET", path).headers["content-security-policy"])
        assert policy["default-src"] == ["'none'"]
        assert (
            policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == ["'none'"]
        )
        sources = {value for name, of in policy.items() if name.endswith("-src") for value in of}
        assert sources == {"'none'", "'self'"}


def test_the_list_is_what_lies_there_and_what_is_asked_for() -> None:
    from importlib.resources import files as package_files

    folder = package_files(files.__package__).joinpath("static")
    there = {entry.name for entry in folder.iterdir()}
    assert there == set(files.NAMES)
    texts = {name: files.read(name).decode() for name in files.NAMES}
    used = set(re.findall(r'(?:src|href)="page/([^"]+)"', texts["index.html"]))
    for text in texts.values():
        used |= set(re.findall(r'(?:from "\./|new URL\(")(\w+\.js)"', text))
    assert used == set(files.NAMES) - {"index.html"}


def test_nothing_of_it_comes_from_elsewhere_or_stands_in_the_markup() -> None:
    for name in files.NAMES:
        text = files.read(name).decode()
        addresses = set(re.findall(r"\w+://[\w.]+", text))
        # Names of a format, and what a person is told to open.
        assert addresses <= {"http://www.w3.org", "http://127.0.0.1"}, name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|eval\(|document\.write", text)
        assert not re.search(r"localStorage|sessionStorage|document\.cookie|indexedDB", text)
    html = files.read("index.html").decode()
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", html)


@pytest.mark.parametrize(
    "path",
    ["/page", "/page/", "/index.html", "/page/index.html", "/page/files.py", "/page/../server.js",
     "/page/%2e%2e/files.py", "/page/Page.js", "//page/page.js"],
)  # fmt: skip
def test_there_is_nothing_else(paged, path) -> None:
    response = paged().request("GET", path)
    assert response.status_code == 404
    assert refusal(response)


def test_it_is_read_alone(paged) -> None:
    server = paged()
    for path in ("/", "/page/page.js"):
        head, whole = server.request("HEAD", path), server.request("GET", path)
        assert head.status_code == 200 and head.content == b""
        assert head.headers["content-length"] == str(len(whole.content))
        assert server.request("POST", path).status_code == 405


def test_it_can_be_turned_off(server) -> None:
    for path in files.PATHS:
        assert server.request("GET", path).status_code == 404


def test_the_page_alone_wants_no_key(paged, make_server) -> None:
    with_page, without = paged(Guard(key=KEY)), make_server(Guard(key=KEY))
    for path in files.PATHS:
        assert with_page.request("GET", path).status_code == 200
        assert without.request("GET", path).status_code == 401
    for path in ("/page/none.js", "/v1/edge/memory", "/metrics", "/v1/models"):
        assert with_page.request("GET", path).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:8080"},
        {"host": "localhost:8080", "origin": "http://evil.example"},
        {"host": "localhost:8080", "sec-fetch-site": "cross-site"},
    ],
    ids=str,
)
def test_other_sites_do_not_get_it(paged, headers) -> None:
    server = paged(Guard.loopback(8080))
    assert server.request("GET", "/", headers=headers).status_code == 403
    own = {"host": "localhost:8080", "sec-fetch-site": "none"}
    assert server.request("GET", "/", headers=own).status_code == 200
