"""What a model entry may name: files, packages, members of wheels, addresses.

A model folder may come from anybody. Nothing in it may run code, write outside the cache, or make
us read what lies elsewhere; so every name is held against the grammar of what it should be.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import urlsplit

from packaging.version import InvalidVersion, Version

from ..units import clipped

MAX_CHARS = 1024
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_HOST_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")


def fault_of_text(text: str) -> str | None:
    """What is wrong with a one-line name, or None: it is short and steers no terminal."""
    if len(text) > MAX_CHARS:
        return f"must have at most {MAX_CHARS} characters"
    return None if text.isprintable() and text.strip() else "must be one printable line"


def fault_of_path(text: str) -> str | None:
    """What is wrong with a path inside a folder or a wheel, or None.

    It is relative on every system, and leads nowhere but down.
    """
    fault = fault_of_text(text)
    if fault is not None:
        return fault
    windows = PureWindowsPath(text)
    parts = PurePosixPath(text).parts
    if "\\" in text or windows.drive or windows.root or ".." in parts or not parts:
        return "must be a path downwards from its folder: relative, without .. and backslashes"
    return None


def fault_of_file_name(text: str) -> str | None:
    """What is wrong with the bare name of a file, or None."""
    if PurePosixPath(text).name != text or "\\" in text:
        return "of a fetched file must be a bare file name"
    return fault_of_path(text)


def fault_of_package(text: str) -> str | None:
    """What is wrong with NAME==VERSION, or None.

    Nothing else may reach the package client, which takes options, paths and addresses as well. A
    local version (1.0+x) could name an archive, and no registry has one.
    """
    name, equals, version = text.partition("==")
    form = "must be NAME==VERSION"
    if len(text) > MAX_CHARS or not equals or not _PACKAGE.fullmatch(name):
        return form
    if not version.isascii() or version != version.strip() or "/" in version:
        return form
    try:
        return None if Version(version).local is None else "must not have a local version"
    except InvalidVersion:
        return form


def fault_of_url(text: str, *, loopback: bool = True) -> str | None:
    """What is wrong with an address to fetch from, or None.

    https alone; http only on this machine itself, and only if `loopback` allows that. No user or
    password in it, no characters that a header could not hold.
    """
    if len(text) > MAX_CHARS:
        return f"must have at most {MAX_CHARS} characters"
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        return "must be plain ASCII without spaces"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        return f"is no address: {clipped(str(error), 200)}"
    if parts.username is not None or parts.password is not None:
        return "must hold no user and no password"
    if port == 0:
        return "is no address: port 0"
    if parts.scheme not in ("http", "https"):
        return "must begin with https://"
    here = host in LOOPBACK
    if not here and not all(_HOST_LABEL.fullmatch(label) for label in host.split(".")):
        return "must name a host"
    if parts.scheme == "https" or (parts.scheme == "http" and here and loopback):
        return None
    return "must begin with https://"
