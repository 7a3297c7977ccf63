"""A chip file, read strictly: every key known, every figure with a unit, a source and a confidence.

Errors name the file and the key. Quantities are strings with their unit (``"4000 GB/s"``), so that
a file can be laid beside the datasheet it was copied from.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from penjing.errors import BadFile, BadQuantity, UnknownName
from penjing.hardware.chip import Chip, Confidence, Figure, Link, Memory
from penjing.hardware.precision import Precision
from penjing.units import parse_bytes, parse_rate, parse_usd, parse_usd_per_hour, parse_watts

Parse = Callable[[str, str], float]

_TOP = (
    *("name", "vendor", "variant", "family", "architecture", "year", "aliases", "is_cpu"),
    *("node_chips", "process", "notes", "sources", "compute", "memory", "fabric", "network"),
    *("power", "die", "price"),
)
_FIGURE = ("value", "source", "confidence", "note")


def parse_chip(text: str, where: str) -> Chip:
    """The chip a TOML text describes; ``where`` is the file's name for messages."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadFile(f"{where}: not TOML: {error}") from error
    top = _Table.checked(values, where, _TOP)
    sources = _sources(top)
    power = _section(top, "power", ("tdp",), sources)
    die = _section(top, "die", ("area",), sources)
    price = _section(top, "price", ("purchase", "rental", "date"), sources)
    return Chip(
        name=top.text("name"),
        vendor=top.text("vendor"),
        variant=top.text("variant", ""),
        family=top.text("family", top.text("name")),
        architecture=top.text("architecture"),
        year=top.whole("year", at_least=1990),
        aliases=top.texts("aliases"),
        is_cpu=top.yes("is_cpu"),
        compute_flops_per_s=_compute(top, sources),
        memory=_memory(top, sources),
        fabric=_link(top, "fabric", sources),
        network=_link(top, "network", sources),
        node_chips=top.whole("node_chips", at_least=1, default=8),
        power_w=power.figure("tdp", parse_watts),
        die_area_mm2=die.figure("area", _parse_mm2),
        process=top.text("process", ""),
        price_usd=price.figure("purchase", parse_usd),
        rental_usd_per_h=price.figure("rental", parse_usd_per_hour),
        price_date=price.text("date", ""),
        notes=top.texts("notes"),
        sources=sources,
    )


@dataclass(frozen=True, kw_only=True)
class _Table:
    """One table of the file, with the place it stands in and the sources it may cite."""

    values: Mapping[str, object]
    where: str
    sources: Mapping[str, str]

    @classmethod
    def checked(
        cls,
        values: object,
        where: str,
        keys: Iterable[str],
        sources: Mapping[str, str] | None = None,
    ) -> "_Table":
        if not isinstance(values, dict):
            raise BadFile(f"{where}: must be a table")
        for key in values:
            if key not in keys:
                raise UnknownName(f"key in {where}", key, keys)
        return cls(values=values, where=where, sources=sources or {})

    def text(self, key: str, default: str | None = None) -> str:
        value = self.values.get(key, default)
        if value is None:
            raise BadFile(f"{self.where}: {key} is missing")
        if not isinstance(value, str) or (not value.strip() and key in self.values):
            raise BadFile(f"{self.where}: {key} = {value!r} must be a non-empty string")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
            raise BadFile(f"{self.where}: {key} = {value!r} must be a list of non-empty strings")
        return tuple(value)

    def whole(self, key: str, *, at_least: int, default: int | None = None) -> int:
        value = self.values.get(key, default)
        if value is None:
            raise BadFile(f"{self.where}: {key} is missing")
        if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
            raise BadFile(f"{self.where}: {key} = {value!r} must be a whole number >= {at_least}")
        return value

    def yes(self, key: str) -> bool:
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise BadFile(f"{self.where}: {key} = {value!r} must be true or false")
        return value

    def figure(self, key: str, parse: Parse) -> Figure | None:
        if key not in self.values:
            return None
        where = f"{self.where} {key}"
        raw = _Table.checked(self.values[key], where, _FIGURE)
        text = raw.text("value")
        try:
            value = parse(text, where)
        except BadQuantity as error:
            raise BadFile(str(error)) from error
        return Figure(
            value=value,
            text=text,
            source=_cited(raw, self.sources),
            confidence=_confidence(raw),
            note=raw.text("note", ""),
        )


def _section(top: _Table, name: str, keys: tuple[str, ...], sources: Mapping[str, str]) -> _Table:
    return _Table.checked(top.values.get(name, {}), f"{top.where} [{name}]", keys, sources)


def _sources(top: _Table) -> dict[str, str]:
    table = top.values.get("sources", {})
    if not isinstance(table, dict):
        raise BadFile(f"{top.where} [sources]: must be a table")
    where = f"{top.where} [sources]"
    return {key: _Table(values=table, where=where, sources={}).text(key) for key in table}


def _cited(raw: _Table, sources: Mapping[str, str]) -> tuple[str, ...]:
    cited = raw.texts("source")
    if not cited:
        raise BadFile(f"{raw.where}: source is missing; cite at least one key of [sources]")
    for key in cited:
        if key not in sources:
            raise UnknownName(f"source in {raw.where}", key, sources)
    return cited


def _confidence(raw: _Table) -> Confidence:
    given = raw.text("confidence")
    if given not in tuple(Confidence):
        raise UnknownName(f"confidence in {raw.where}", given, tuple(Confidence))
    return Confidence(given)


def _compute(top: _Table, sources: Mapping[str, str]) -> dict[Precision, Figure]:
    table = _section(top, "compute", tuple(Precision), sources)
    parse = partial(_parse_rate, base="FLOP")
    figures = {p: table.figure(p, parse) for p in Precision}
    return {p: figure for p, figure in figures.items() if figure is not None}


def _memory(top: _Table, sources: Mapping[str, str]) -> Memory:
    table = _section(top, "memory", ("type", "capacity", "bandwidth"), sources)
    return Memory(
        type=table.text("type"),
        capacity_bytes=table.figure("capacity", parse_bytes),
        bandwidth_bytes_per_s=table.figure("bandwidth", partial(_parse_rate, base="B")),
    )


def _link(top: _Table, name: str, sources: Mapping[str, str]) -> Link | None:
    if name not in top.values:
        return None
    table = _section(top, name, ("name", "bandwidth"), sources)
    return Link(
        name=table.text("name"),
        bytes_per_s=table.figure("bandwidth", partial(_parse_rate, base="B")),
    )


def _parse_rate(text: str, what: str, *, base: str) -> float:
    return parse_rate(text, base, what)


def _parse_mm2(text: str, what: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?mm2", text)
    if not match or float(match[1]) <= 0:
        raise BadQuantity(f"{what} {text!r}: write it with mm2, as in 814 mm2")
    return float(match[1])
