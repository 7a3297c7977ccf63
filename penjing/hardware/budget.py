"""What is had: clusters of chips, from a line such as ``16xH20`` or ``8xH20+8x910B``."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from penjing.errors import BadQuantity
from penjing.hardware.catalogue import Catalogue
from penjing.hardware.chip import Chip
from penjing.hardware.cluster import Cluster
from penjing.hardware.probe import Machine, probe
from penjing.units import parse_count

_MOST_CHIPS = 1_000_000
_PART = re.compile(
    r"(?:([-+]?\d[\d,_.]{0,20}(?:[eE]\d\d?)?[kKM]?)\s*[xX\u00d7*]\s*)?(.*)", re.DOTALL
)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Equal chips are one cluster; ``notes`` says what was taken where a name left a choice."""

    clusters: tuple[Cluster, ...]
    notes: tuple[str, ...] = ()

    @property
    def chips(self) -> int:
        return sum(cluster.count for cluster in self.clusters)

    def __str__(self) -> str:
        return "+".join(f"{cluster.count}x{cluster.chip.name}" for cluster in self.clusters)


def parse_budget(text: str, catalogue: Catalogue, machine: Callable[[], Machine] = probe) -> Budget:
    """``16xH20``, ``8xH20+8x910B``, ``H20`` for one, ``here`` for this machine.

    Raises ``BadQuantity`` for a count that is missing, not whole, below one or above a million,
    and ``UnknownName`` for the chip.
    """
    counts: dict[Chip, int] = {}
    notes: list[str] = []
    for part in text.split("+"):
        chips, said = _part(part.strip(), text, catalogue, machine)
        notes += said
        for chip, count in chips:
            counts[chip] = counts.get(chip, 0) + count
    if sum(counts.values()) > _MOST_CHIPS:
        raise BadQuantity(f"chips {text!r}: more than {_MOST_CHIPS:,} chips; check the count")
    clusters = tuple(Cluster(chip=chip, count=count) for chip, count in counts.items())
    return Budget(clusters=clusters, notes=tuple(dict.fromkeys(notes)))


def _part(
    part: str, text: str, catalogue: Catalogue, machine: Callable[[], Machine]
) -> tuple[list[tuple[Chip, int]], list[str]]:
    match = _PART.fullmatch(part)
    assert match  # the second group takes anything
    number, name = match[1], match[2].strip()
    if name.lower() in ("", "x"):
        raise BadQuantity(f"chips {text!r}: write a count and a chip, as in 16xH20")
    if name.lower() == "here":
        if number not in (None, "1"):
            raise BadQuantity(f"chips {text!r}: 'here' is this one machine; leave out the count")
        return _here(machine(), catalogue)
    count = 1 if number is None else parse_count(number, f"chips {text!r}: count")
    found = catalogue.find(name)
    return [(found.chip, count)], [found.note] if found.note else []


def _here(machine: Machine, catalogue: Catalogue) -> tuple[list[tuple[Chip, int]], list[str]]:
    """The accelerators of this machine, or its processor where it has none."""
    accelerators = machine.accelerators(catalogue)
    chips = accelerators or (machine.as_chip(),)
    what = "accelerators as the driver reports them" if accelerators else "processor as measured"
    return [(chip, 1) for chip in chips], [f"here: {what} on {machine.measured_on}"]
