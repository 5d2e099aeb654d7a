"""The version of the package, for rooms that know nothing above them."""

from __future__ import annotations

__version__ = "0.1.0"
