"""Every chip we know, by any name people use for it."""

from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path

from penjing.errors import BadFile, UnknownName, nearest_names
from penjing.hardware.chip import Chip
from penjing.hardware.chipfile import parse_chip

__all__ = ["Catalogue", "Match", "load_catalogue", "parse_chip"]


@dataclass(frozen=True, kw_only=True)
class Match:
    """``note`` is not empty where the name left a choice open and one member was taken."""

    chip: Chip
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Chips sorted by name; no two share a name or alias."""

    chips: tuple[Chip, ...]

    def __post_init__(self) -> None:
        assert self._by_spelling  # built now, so that a clash shows at load time

    def find(self, name: str) -> Match:
        """The chip of this name, alias or ``.toml`` path; raises ``UnknownName`` or ``BadFile``.

        Names are compared without case, spaces, dashes and underscores.
        """
        if name.strip().endswith(".toml"):
            return Match(chip=_read_chip(Path(name.strip())))
        chip = self._by_spelling.get(_fold(name))
        if chip is None:
            raise UnknownName("chip", name, self._offered(name), "`penjing chips list` shows all")
        return Match(chip=chip, note=self._family_note(name, chip))

    @cached_property
    def _by_spelling(self) -> dict[str, Chip]:
        index: dict[str, Chip] = {}
        for chip in self.chips:
            for spelling in (chip.name, *chip.aliases):
                other = index.setdefault(_fold(spelling), chip)
                if other is not chip:
                    raise BadFile(f"{spelling!r} names both {other.name} and {chip.name}")
        return index

    def _offered(self, name: str) -> list[str]:
        spellings = [s for c in self.chips for s in (c.name, *c.aliases)]
        # Where nothing is near, a list of aliases would be noise: names alone.
        return spellings if nearest_names(name, spellings) else [c.name for c in self.chips]

    def _family_note(self, name: str, chip: Chip) -> str:
        others = [c for c in self.chips if c.family == chip.family and c is not chip]
        # "910B" for "Ascend 910B": the end of a family's name is the family too.
        if not others or not _fold(chip.family).endswith(_fold(name)):
            return ""
        listed = ", ".join(f"{c.name} ({c.variant})" for c in others)
        exist = "also exists" if len(others) == 1 else "also exist"
        called = chip.family if _fold(name) == _fold(chip.family) else name.strip()
        return f"{called} is the {chip.variant} part; {listed} {exist}"


@cache
def load_catalogue() -> Catalogue:
    """The catalogue that ships with the package."""
    folder = files("penjing.hardware") / "chips"
    found = [f for f in folder.iterdir() if f.name.endswith(".toml")]
    chips = [parse_chip(f.read_text(encoding="utf-8"), f.name) for f in found]
    return Catalogue(chips=tuple(sorted(chips, key=lambda c: c.name.lower())))


def _read_chip(path: Path) -> Chip:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadFile(f"{path}: cannot be read ({error.strerror}); give a chip file") from error
    except UnicodeDecodeError as error:
        raise BadFile(f"{path}: not a text file in UTF-8") from error
    return parse_chip(text, str(path))


def _fold(name: str) -> str:
    return "".join(c for c in name.lower() if c not in " -_\t")
