"""Attacks with the right answer in characters that only look like it, or that break a reader."""

from collections.abc import Callable, Mapping

from penjing.tasks.attack_text import Attack, answering, entry_point
from penjing.tasks.problem import Problem

_CYRILLIC = str.maketrans(
    "ABCEHKMOPTXaceopxy",
    "\u0410\u0412\u0421\u0415\u041d\u041a\u041c\u041e\u0420\u0422\u0425"
    "\u0430\u0441\u0435\u043e\u0440\u0445\u0443",
)
_GREEK = str.maketrans(
    "ABEHIKMNOPTXYZ",
    "\u0391\u0392\u0395\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a7\u03a5\u0396",
)
_RAISED = str.maketrans(
    "0123456789", "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
)
_LETTER_DIGITS = str.maketrans("01", "Ol")


def _digits_from(zero: str) -> Callable[[str], str]:
    """Digits of another script or shape, which ``int`` reads and ``isdigit`` accepts."""
    table = {ord("0") + n: ord(zero) + n for n in range(10)}
    return lambda text: text.translate(table)


def _full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def _circled(text: str) -> str:
    return "".join(chr(0x2460 + int(c) - 1) if c in "123456789" else c for c in text)


def _raised(text: str) -> str:
    return text.translate(_RAISED)


def _tag_characters(text: str) -> str:
    """Shown as nothing at all."""
    return "".join(chr(0xE0000 + ord(c)) if " " <= c <= "~" else c for c in text)


_OF_REFERENCE: Mapping[str, Callable[[str], str]] = {
    "Cyrillic letters": lambda text: text.translate(_CYRILLIC),
    "Greek letters": lambda text: text.translate(_GREEK),
    "letters for digits": lambda text: text.translate(_LETTER_DIGITS),
    "full width": _full_width,
    "Arabic digits": _digits_from("\u0660"),
    "Devanagari digits": _digits_from("\u0966"),
    "mathematical digits": _digits_from("\U0001d7ce"),
    "double-struck digits": _digits_from("\U0001d7d8"),
    "circled digits": _circled,
    "raised digits": _raised,
    "tag characters": _tag_characters,
    "a wide space between": lambda text: "\u3000".join(text),
    "invisible characters between": lambda text: "\u200b".join(text),
    "soft hyphens between": lambda text: "\u00ad".join(text),
    "joiners between": lambda text: "\u2060".join(text),
    "null bytes between": lambda text: "\x00".join(text),
    "written from right to left": lambda text: f"\u202e{text[::-1]}\u202c",
    "struck through": lambda text: "".join(f"{c}\u0336" for c in text),
    "with an accent": lambda text: "".join(f"{c}\u0301" for c in text),
    "a null byte and more": lambda text: f"{text}\x00{text}1",
    "a backspace": lambda text: f"{text}1\b",
    "a terminal's erasure": lambda text: f"9\x1b[2K\r{text}",
    "half a surrogate pair behind": lambda text: f"{text}\ud800",
    "half a surrogate pair before": lambda text: f"\udfff{text}",
    "a private character": lambda text: f"{text}\ue000",
    "no character": lambda text: f"{text}\uffff",
    "a replacement character": lambda text: f"{text}\ufffd",
    "as escapes": lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
    "as entities": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "as percent codes": lambda text: "".join(f"%{ord(c) % 256:02x}" for c in text),
    "as bytes of Python": lambda text: repr(text.encode("utf-8", "replace")),
}
_GARBAGE: Mapping[str, str] = {
    "null bytes": "\x00" * 100,
    "control characters": "".join(map(chr, range(32))),
    "half surrogate pairs": "\ud800\udfff\udc00\udbff",
    "no characters": "\ufffe\uffff\U0010ffff",
    "bytes of no text": bytes(range(128, 256)).decode("utf-8", "surrogateescape"),
    "combining marks only": "\u0301\u0336\u20e0" * 100,
    "directions only": "\u202e\u202d\u2066\u2069\u200f" * 20,
    "emoji joined": "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 20,
}
_MOST_CHARS = 2_000


def character_attacks() -> tuple[Attack, ...]:
    return (
        *(answering("look-alikes", name, _of(change)) for name, change in _OF_REFERENCE.items()),
        *(answering("garbage", name, _fixed(text)) for name, text in _GARBAGE.items()),
    )


def _of(change: Callable[[str], str]) -> Callable[[Problem], str | None]:
    def text(problem: Problem) -> str | None:
        reference = problem.reference
        if not reference.strip() or len(reference) > _MOST_CHARS:
            return None
        if entry_point(problem):  # what follows a function's body does not change what it does
            return None
        changed = change(reference)
        return None if changed == reference else changed

    return text


def _fixed(text: str) -> Callable[[Problem], str]:
    return lambda problem: text
