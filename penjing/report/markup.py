"""HTML and SVG in which every text is escaped, unless it was made here."""

import re
from html import escape
from typing import Any

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_VOID = frozenset({"link", "meta"})


class Html(str):
    """Markup; all other text is escaped where it becomes a child or the value of an attribute."""

    __slots__ = ()


Node = str | None
"""A child of an element: ``Html`` as it is, text escaped, None nothing."""


def element(name: str, /, *children: Node, **attributes: Any) -> Html:
    """``class_`` is the attribute ``class``, ``data_label`` is ``data-label``.

    An attribute that is None is left out, one that is True has no value.
    """
    inside = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        assert not children
        return Html(f"<{name}{inside}>")
    return Html(f"<{name}{inside}>{joined(*children)}</{name}>")


def joined(*children: Node) -> Html:
    """Children without an element around them."""
    return Html("".join(map(text, (child for child in children if child is not None))))


def text(value: str) -> Html:
    """Escaped; what no page can show, such as half a surrogate pair, becomes U+FFFD."""
    if isinstance(value, Html):
        return value
    return Html(escape(_UNPRINTABLE.sub("\ufffd", value), quote=True))


def _attribute(key: str, value: Any) -> str:
    if value is None:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    return f' {name}="{text(str(value))}"'
