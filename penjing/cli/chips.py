"""``penjing chips``: what the catalogue knows, figure by figure, each with its source."""

import argparse
from collections.abc import Callable, Mapping

from penjing.cli.answer import Answer, Json, table
from penjing.errors import UnknownName
from penjing.hardware.catalogue import load_catalogue
from penjing.hardware.chip import Chip, Figure
from penjing.hardware.precision import Precision

NAME = "chips"
HELP = "list, show and compare the chips of the catalogue, every figure with its source"

# A column of `list` and `compare`: heading, key in Chip.figures(), what one unit is in SI.
_COLUMNS: dict[str, tuple[str, str, float]] = {
    "bf16": ("BF16 TFLOP/s", "bf16_flops_per_s", 1e12),
    "fp8": ("FP8 TFLOP/s", "fp8_flops_per_s", 1e12),
    "int8": ("INT8 TFLOP/s", "int8_flops_per_s", 1e12),
    "fp4": ("FP4 TFLOP/s", "fp4_flops_per_s", 1e12),
    "memory": ("memory GiB", "memory_bytes", 2.0**30),
    "bandwidth": ("memory GB/s", "memory_bytes_per_s", 1e9),
    "fabric": ("fabric GB/s", "fabric_bytes_per_s", 1e9),
    "network": ("network GB/s", "network_bytes_per_s", 1e9),
    "power": ("power W", "power_w", 1.0),
    "price": ("price USD", "price_usd", 1.0),
    "rental": ("rental USD/h", "rental_usd_per_h", 1.0),
}
_LISTED = ("bf16", "fp8", "int8", "memory", "bandwidth", "fabric", "power", "rental")
_UNKNOWN = "-"


def configure(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="chips_verb", required=True, metavar="list|show|compare")
    listing = verbs.add_parser("list", help="one line a chip; - stands for unpublished")
    listing.add_argument("--vendor", help="only this vendor's")
    columns = ("name", "year", *_LISTED)
    listing.add_argument("--sort", choices=columns, default="name", help="column to sort by")
    showing = verbs.add_parser("show", help="every figure of one chip, with its source")
    showing.add_argument("name", metavar="NAME", help="a chip, an alias, or a path to a chip file")
    comparing = verbs.add_parser("compare", help="chips side by side, as ratios to the first")
    comparing.add_argument("names", metavar="NAME", nargs="+", help="a chip, an alias, or a file")
    for sub in (listing, showing, comparing):
        # The verb's own parser has --json too; only one that was given may speak.
        sub.add_argument(
            "--json",
            action="store_true",
            default=argparse.SUPPRESS,
            help="print one JSON document on stdout",
        )


def answer(arguments: argparse.Namespace) -> Answer:
    verbs: Mapping[str, Callable[[argparse.Namespace], Answer]] = {
        "list": _list,
        "show": _show,
        "compare": _compare,
    }
    return verbs[arguments.chips_verb](arguments)


def ridge_flops_per_byte(chip: Chip) -> float | None:
    """BF16 FLOP a byte of memory traffic at which compute, not memory, becomes the limit."""
    bandwidth = chip.memory.bandwidth_bytes_per_s
    if not chip.supports(Precision.BF16) or bandwidth is None:
        return None
    return chip.flops_per_s(Precision.BF16) / bandwidth.value


def _list(arguments: argparse.Namespace) -> Answer:
    chips = _sorted(_of_vendor(load_catalogue().chips, arguments.vendor), arguments.sort)
    headers = ["name", "vendor", "year", *(_COLUMNS[c][0] for c in _LISTED)]
    rows = [[c.name, c.vendor, c.year, *(_cell(c, column) for column in _LISTED)] for c in chips]
    text = f"{table(headers, rows)}\n\n{len(chips)} chips; - is not published"
    return Answer(document={"chips": [_document(c) for c in chips]}, text=text)


def _show(arguments: argparse.Namespace) -> Answer:
    match = load_catalogue().find(arguments.name)
    chip = match.chip
    rows = [
        [name, f.text, f.confidence, ", ".join(f.source), f.note]
        for name, f in chip.figures().items()
    ]
    ridge = ridge_flops_per_byte(chip)
    paragraphs = [
        f"{chip.name}: {chip.vendor}, {chip.variant or chip.family}, {chip.architecture}, "
        f"{chip.year}; {chip.node_chips} a node",
        _wires(chip),
        table(["figure", "value", "confidence", "source", "note"], rows),
        f"ridge point: {ridge:.0f} FLOP a byte (BF16 over memory bandwidth)" if ridge else "",
        "\n".join(f"note: {note}" for note in chip.notes),
        "\n".join(f"source {key}: {text}" for key, text in chip.sources.items()),
        f"also called: {', '.join(chip.aliases)}" if chip.aliases else "",
        match.note,
    ]
    document = {**_document(chip), "choice": match.note}
    return Answer(document=document, text="\n\n".join(p for p in paragraphs if p))


def _compare(arguments: argparse.Namespace) -> Answer:
    matches = [load_catalogue().find(name) for name in arguments.names]
    chips = [m.chip for m in matches]
    rows = [[_COLUMNS[c][0], *_against_first(chips, c)] for c in _COLUMNS]
    rows.append(["ridge FLOP/B", *(_ridge_cell(chip) for chip in chips)])
    notes = [m.note for m in matches if m.note]
    text = "\n\n".join([table(["", *(c.name for c in chips)], rows), *notes])
    document: Json = {
        "chips": [_document(chip) for chip in chips],
        "ratios_to_first": {key: _ratios(chips, key) for _, key, _ in _COLUMNS.values()},
        "choices": notes,
    }
    return Answer(document=document, text=text)


def _of_vendor(chips: tuple[Chip, ...], vendor: str | None) -> list[Chip]:
    if vendor is None:
        return list(chips)
    wanted = vendor.casefold()
    found = [c for c in chips if c.vendor.casefold() == wanted]
    if not found:
        raise UnknownName("vendor", vendor, {c.vendor for c in chips})
    return found


def _sorted(chips: list[Chip], column: str) -> list[Chip]:
    """By name or year upwards, by a figure downwards; the unpublished come last."""
    if column == "name":
        return sorted(chips, key=lambda c: c.name.lower())
    if column == "year":
        return sorted(chips, key=lambda c: c.year)
    key = _COLUMNS[column][1]
    return sorted(chips, key=lambda c: -(_value(c, key) or 0.0))


def _value(chip: Chip, key: str) -> float | None:
    figure = chip.figures().get(key)
    return figure.value if figure else None


def _cell(chip: Chip, column: str) -> str:
    _, key, unit = _COLUMNS[column]
    figure = chip.figures().get(key)
    return f"{figure.value / unit:.5g}" if figure else _UNKNOWN


def _against_first(chips: list[Chip], column: str) -> list[str]:
    ratios = _ratios(chips, _COLUMNS[column][1])
    cells = [_cell(chip, column) for chip in chips]
    return [
        cell if place == 0 or ratio is None else f"{cell} ({ratio:.2f}x)"
        for place, (cell, ratio) in enumerate(zip(cells, ratios, strict=True))
    ]


def _ratios(chips: list[Chip], key: str) -> list[float | None]:
    first = _value(chips[0], key)
    values = [_value(chip, key) for chip in chips]
    return [value / first if first and value else None for value in values]


def _ridge_cell(chip: Chip) -> str:
    ridge = ridge_flops_per_byte(chip)
    return f"{ridge:.0f}" if ridge else _UNKNOWN


def _wires(chip: Chip) -> str:
    wires = [
        f"memory: {chip.memory.type}",
        f"fabric: {chip.fabric.name}" if chip.fabric else "",
        f"network: {chip.network.name}" if chip.network else "",
        f"process: {chip.process}" if chip.process else "",
    ]
    return "; ".join(w for w in wires if w)


def _document(chip: Chip) -> dict[str, Json]:
    return {
        "name": chip.name,
        "vendor": chip.vendor,
        "variant": chip.variant,
        "family": chip.family,
        "architecture": chip.architecture,
        "year": chip.year,
        "aliases": list(chip.aliases),
        "is_cpu": chip.is_cpu,
        "node_chips": chip.node_chips,
        "memory_type": chip.memory.type,
        "fabric": chip.fabric.name if chip.fabric else None,
        "network": chip.network.name if chip.network else None,
        "process": chip.process,
        "price_date": chip.price_date,
        "ridge_flops_per_byte": ridge_flops_per_byte(chip),
        "figures": {name: _figure_document(f) for name, f in chip.figures().items()},
        "notes": list(chip.notes),
        "sources": dict(chip.sources),
    }


def _figure_document(figure: Figure) -> Json:
    return {
        "value": figure.value,
        "text": figure.text,
        "confidence": figure.confidence,
        "source": list(figure.source),
        "note": figure.note,
    }
