"""Bodies cut anywhere, and bodies that mean harm: what is kept of them is bounded."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_audiokv.server.faults import ApiError
from edge_audiokv.server.json_body import JsonReader, LongTexts
from edge_audiokv.server.limits import MAX_CLIPS, MAX_INLINE_BYTES, MAX_JSON_BYTES, MAX_JSON_DEPTH
from tests.server.scripted import refusal

PATH = "/v1/audio/transcriptions"
LONG = "QUJD" * (MAX_INLINE_BYTES // 4 + 1)


def parse(data: bytes, cuts: list[int], folder: Path, max_bytes: int = 1 << 20) -> Any:
    """What a reader makes of `data` that comes in pieces, long texts put back."""
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    with ExitStack() as stack:
        texts = LongTexts(folder, max_bytes, stack)
        reader = JsonReader(texts)
        for start, end in pairwise(ends):
            reader.feed(data[start:end])
        return restored(reader.parse(), texts)


def restored(value: Any, texts: LongTexts) -> Any:
    if isinstance(value, dict):
        return {restored(key, texts): restored(item, texts) for key, item in value.items()}
    if isinstance(value, list):
        return [restored(item, texts) for item in value]
    if isinstance(value, str) and (spool := texts.find(value)) is not None:
        return spool.file.read().decode()
    return value


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just(LONG)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner)
)


@settings(max_examples=40)
@given(value=VALUES, cuts=st.lists(st.integers(0, 20_000), max_size=6), ascii=st.booleans())
def test_json_is_what_it_was_however_it_comes(tmp_path_factory, value, cuts, ascii) -> None:
    data = json.dumps(value, ensure_ascii=ascii).encode("utf-8", "replace")
    folder = tmp_path_factory.getbasetemp()
    try:
        expected = json.loads(data)
        found = parse(data, cuts, folder)
    except ApiError:  # more long texts, or deeper, than is taken
        text = data.decode()
        deep = max(
            text[:at].count("[") + text[:at].count("{") for at in range(0, len(text) + 1, 50)
        )
        assert text.count(LONG) > MAX_CLIPS or deep > MAX_JSON_DEPTH
        return
    assert found == expected


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_long_text_may_be_cut_anywhere_and_have_escaped_slashes(tmp_path, step) -> None:
    text = "ab/+" * 3000
    data = json.dumps({"a": text, "b": 1}).replace("/", "\\/").encode()
    cuts = list(range(0, len(data), step))
    assert parse(data, cuts, tmp_path) == {"a": text, "b": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a": ',
        b'{"a": "b',
        b'{"a": "b\\',
        b"nonsense",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"\xff\xfe",
        b'{"a": "\xff"}',
        b"[" * 100,
        b'{"a":' * 100,
        b'"' + b"a" * 5000 + b'\\n"',
        b'"' + b"a" * 5000 + b"\\",
        b'"\\u0041' + b"a" * 5000 + b'"',
        b"[" + b"1," * MAX_JSON_BYTES,
        b'"' + b"QUJD" * (1 << 19) + b'"',
    ],
    ids=lambda data: repr(data[:16]),
)
def test_what_is_no_json_or_too_much_is_refused(tmp_path, data) -> None:
    with pytest.raises(ApiError) as told:
        parse(data, list(range(0, len(data), 4096)), tmp_path)
    assert told.value.status in (400, 413)


def test_a_mark_that_a_client_makes_up_is_a_text(tmp_path) -> None:
    with ExitStack() as stack:
        texts = LongTexts(tmp_path, 1 << 20, stack)
        texts.add()
        assert texts.find("0" * 32 + "-0") is None
        assert texts.find("") is None


def test_a_large_body_costs_little_memory(tmp_path) -> None:
    piece = b"QUJD" * (16 << 10)
    with ExitStack() as stack:
        texts = LongTexts(tmp_path, 64 << 20, stack)
        reader = JsonReader(texts)
        tracemalloc.start()
        try:
            reader.feed(b'{"a": "')
            for _ in range(320):
                reader.feed(piece)
            reader.feed(b'"}')
            reader.parse()
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak_bytes < 1 << 20


def test_many_empty_lists_cost_what_their_text_does(tmp_path) -> None:
    with ExitStack() as stack:
        texts = LongTexts(tmp_path, 1 << 20, stack)
        reader = JsonReader(texts)
        tracemalloc.start()
        try:
            with pytest.raises(ApiError):
                for _ in range(1 << 8):
                    reader.feed(b"[" + b"{}," * (8 << 10))
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak_bytes < 4 << 20


# --- forms ----------------------------------------------------------------------------------------


def form(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end


def part(name: bytes, value: bytes, *, filename: bytes = b"", more: bytes = b"") -> bytes:
    head = b'Content-Disposition: form-data; name="' + name + b'"'
    head += b'; filename="' + filename + b'"' if filename else b""
    return head + more + b"\r\n\r\n" + value


FILE = part(b"file", b"sound\r\n--c in it\0", filename=b"../../etc/passwd")
MODEL = part(b"model", b"whisper-1")


def post(server, body: bytes, kind: str = "multipart/form-data; boundary=b") -> httpx.Response:
    response: httpx.Response = server.request(
        "POST", PATH, content=body, headers={"content-type": kind}
    )
    return response


def test_a_files_name_is_never_used_and_its_bytes_are_whole(server, engine, tmp_path) -> None:
    assert post(server, form(FILE, MODEL)).status_code == 200
    assert engine.heard == [b"sound\r\n--c in it\0"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", [1, 3, 64])
def test_a_form_may_be_cut_anywhere(server, engine, step) -> None:
    body = form(MODEL, FILE)

    async def pieces():
        for start in range(0, len(body), step):
            yield body[start : start + step]

    assert post(server, pieces()).status_code == 200
    assert engine.heard == [b"sound\r\n--c in it\0"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "boundary"),
        (b"nonsense", "boundary"),
        (form(MODEL, FILE, end=b""), "boundary"),
        (form(MODEL, FILE)[:-30], "boundary"),
        (form(MODEL), "none"),
        (form(FILE), "model"),
        (form(FILE, FILE, MODEL), "one is enough"),
        (form(FILE, part(b"model", b"whisper-1", filename=b"x")), "may be a file"),
        (form(FILE, part(b"\xff", b"x")), "no name"),
        (form(FILE, b"Content-Type: text/plain\r\n\r\nx"), "no name"),
        (form(FILE, part(b"model", b"\xff")), "UTF-8"),
        (form(FILE, part(b"prompt", b"x" * 20_000)), "bytes"),
        (form(FILE, part(b"a", b"b", more=b"\r\nX: y" * 20)), "header"),
        (form(FILE, part(b"a", b"b", more=b"\r\nX: " + b"y" * 5000)), "header"),
        (form(FILE, *[part(b"a", b"b")] * 100), "parts"),
    ],
    ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else value,
)
def test_forms_that_are_broken_or_too_much(server, engine, body, said) -> None:
    response = post(server, body)
    assert response.status_code == 400, response.text
    assert said in refusal(response)["message"].lower() or said in response.text
    assert not engine.heard


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "b" * 300,
        "multipart/mixed; boundary=b",
        "text/plain",
    ],
)
def test_a_body_of_another_kind(server, kind) -> None:
    response = post(server, form(MODEL, FILE), kind)
    assert response.status_code == 400
    assert refusal(response)


@settings(max_examples=60)
@given(data=st.binary(max_size=300), cut=st.integers(0, 200), at=st.integers(0, 200))
def test_no_body_is_an_error_of_ours(data, cut, at) -> None:
    """Whatever comes is answered: 200 or a refusal that says why."""
    import tempfile

    from edge_audiokv.server.guard import Guard
    from edge_audiokv.server.limits import Limits
    from tests.server.scripted import ScriptedEngine, Server

    whole = form(MODEL, FILE)
    body = whole[:at] + data + whole[at + cut :]
    with tempfile.TemporaryDirectory() as folder:
        server = Server(ScriptedEngine(), Path(folder), Limits(), Guard())
        try:
            assert post(server, body).status_code in (200, 400, 404)
            kind = "application/json"
            response = server.request(
                "POST", "/v1/chat/completions", content=body, headers={"content-type": kind}
            )
            assert response.status_code == 400
        finally:
            server.worker.close()
