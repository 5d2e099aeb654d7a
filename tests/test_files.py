"""What is written is whole or not there, and its owner's alone where it holds speech."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_audiokv import files
from edge_audiokv.audio.live.monitor import Recorder
from edge_audiokv.errors import OutputError
from edge_audiokv.events import Final
from edge_audiokv.output.target import FORMATS, open_output


@pytest.fixture(params=[0o022, 0o000, 0o077])
def umask(request: pytest.FixtureRequest):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def put(path: Path, name: str) -> None:
    with open_output(path, name) as writer:
        writer.write(Final(0, 0.0, 1.0, "a private talk"))


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_result_is_its_owners_alone(tmp_path: Path, umask: int, name: str) -> None:
    path = tmp_path / "talk"
    put(path, name)
    assert mode(path) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["talk"]


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"json"}))
def test_a_result_that_is_there_keeps_the_mode_somebody_gave_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / "talk"
    path.write_text("before")
    path.chmod(0o644)
    put(path, name)
    assert mode(path) == 0o644 and "before" not in path.read_text()


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_a_recording_is_its_owners_alone(tmp_path: Path, umask: int, suffix: str) -> None:
    path = tmp_path / f"day.{suffix}"
    recorder = Recorder(path)
    recorder.open()
    recorder.write(np.zeros(16000, np.float32))
    recorder.close()
    assert mode(path) == 0o600


def test_a_recording_that_is_there_is_kept_until_there_is_another(tmp_path: Path) -> None:
    path = tmp_path / "day.wav"
    first = Recorder(path)
    first.open()
    first.write(np.full(16000, 0.5, np.float32))
    first.close()
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"there already.*--overwrite"):
        Recorder(path).open()
    for use in (Recorder.close, Recorder.abandon):
        again = Recorder(path, overwrite=True)
        again.open()
        use(again)
        assert path.read_bytes() == before
    again = Recorder(path, overwrite=True)
    again.open()
    again.write(np.zeros(800, np.float32))
    again.abandon()
    assert again.duration_s == 0.05 and len(path.read_bytes()) == 44 + 1600
    # A new one without sound is nobody's.
    new = Recorder(tmp_path / "new.flac")
    new.open()
    new.abandon()
    assert not new.path.exists()


def test_other_files_get_the_mode_of_the_umask(tmp_path: Path, umask: int) -> None:
    files.write_whole(tmp_path / "report", "x")
    assert mode(tmp_path / "report") == 0o666 & ~umask


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_link_planted_under_the_old_part_name_is_not_followed(tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "results"
    folder.mkdir()
    for planted in (f".talk.{os.getpid()}.part", "talk.part", ".talk.part"):
        (folder / planted).symlink_to(victim)
    put(folder / "talk", name)
    assert victim.read_text() == "precious"
    assert not (folder / "talk").is_symlink()


def test_a_part_of_a_guessable_name_is_no_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "x.part").symlink_to(victim)
    for append in (False, True):
        with pytest.raises(OSError):
            files.open_part(tmp_path / "x.part", append=append)
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_is_not_finished_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "report.png"
    path.write_text("before")
    with pytest.raises(error), files.growing(path) as part:
        assert part.suffix == ".png" and mode(part) == 0o600
        part.write_text("half")
        raise error
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.png"]
    assert path.read_text() == "before"


_KILLED = """
import os, signal, sys
from pathlib import Path
from edge_audiokv.files import growing
with growing(Path(sys.argv[1]), private=True) as part:
    part.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def leave(path: Path) -> Path:
    """What a process that was killed left of `path`."""
    before = set(path.parent.iterdir())
    subprocess.run([sys.executable, "-c", _KILLED, str(path)], check=False)
    (left,) = set(path.parent.iterdir()) - before
    return left


@pytest.mark.skipif(os.name != "posix", reason="no such locks")
def test_what_a_killed_process_left_of_a_file_goes_with_the_next_and_nothing_else(
    tmp_path: Path,
) -> None:
    path = tmp_path / "talk.json"
    lost = leave(path)
    others = [leave(tmp_path / name) for name in ("walk.json", "talk.srt", "talk.2.json")]
    others += [tmp_path / ".talk.mine.part.json", tmp_path / ".talk.ab_cd_12.part.json.bak"]
    for other in others[3:]:
        other.write_text("mine")
    link = tmp_path / lost.name.replace(lost.name[6:14], "planted0")
    link.symlink_to(others[3])
    with files.growing(path) as writing, files.growing(path) as again:
        # Somebody is at it: that is not left.
        assert not lost.exists() and writing.exists() and again.exists()
        again.write_text("second")
        writing.write_text("first")
    assert path.read_text() == "first"
    assert set(tmp_path.iterdir()) == {path, link, *others}


@pytest.mark.parametrize("name", ["t" * 255, "t" * 250 + ".json", "é" * 125, "t." + "s" * 250])
def test_any_name_that_a_disk_takes_can_be_written_whole(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    files.write_whole(path, "x")
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
