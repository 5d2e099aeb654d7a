"""Kinds of values that options take: numbers, shares, sizes, NAME=VALUE."""

from __future__ import annotations

import math
from typing import Any

import click

from edge_audiokv.engine.settings import LAYER_WORDS, LEAST_CAP_BYTES
from edge_audiokv.units import parse_bytes, parse_share


class Number(click.FloatRange):
    """A number within bounds; unlike click's own range, it knows that NaN is in none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


class Share(click.ParamType[float]):
    """A share such as 40% or 0.4."""

    name = "share"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        try:
            return parse_share(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Size(click.ParamType[str]):
    """A size such as 2GB; with `shares` also a share of the machine's memory, such as 50%.

    `unit` is what a small number without one lacks.
    """

    name = "size"

    def __init__(self, *, shares: bool = True, unit: str = "GB") -> None:
        self._total_bytes = 1 << 40 if shares else None
        self._unit = unit

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            parse_bytes(
                str(value),
                total_bytes=self._total_bytes,
                least_bytes=LEAST_CAP_BYTES,
                unit=self._unit,
            )
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class Layers(click.ParamType[int | str]):
    """A number of layers, all or auto."""

    name = "N|all|auto"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        text = str(value).strip().lower()
        if text in LAYER_WORDS:
            return text
        if not (text.isascii() and text.isdigit() and len(text) <= 3):
            self.fail(f"{value!r} is no number of layers, nor all or auto.", param, ctx)
        return int(text)


class NameAndValue(click.ParamType[tuple[str, Any]]):
    """NAME=VALUE, whose value may be a number, or true or false."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        name, equals, typed = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        for convert in (int, float):
            try:
                return name, convert(typed)
            except ValueError:
                continue
        if typed.lower() in ("true", "false"):
            return name, typed.lower() == "true"
        return name, typed
