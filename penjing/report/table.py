"""A table that becomes a list of cards where the page is narrow."""

from collections.abc import Collection, Sequence

from penjing.report.markup import Html, Node, element, joined


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[Node]],
    *,
    figures: Collection[int] = (),
    foot: Sequence[Node] | None = None,
) -> Html:
    """The first cell heads its row; columns in ``figures`` are set as numbers."""
    head = element("tr", *(_head(name, n in figures) for n, name in enumerate(headers)))
    body = [_row(headers, row, figures) for row in rows]
    ending = None if foot is None else element("tfoot", _row(headers, foot, figures))
    whole = element("table", element("thead", head), element("tbody", *body), ending)
    return element("div", whole, class_="wide")


def noted(main: Node, *notes: Node) -> Html:
    """What stands in a cell, and smaller under it what belongs to it."""
    known = [note for note in notes if note]
    return joined(main, *(element("small", note) for note in known))


def _head(name: str, is_figure: bool) -> Html:
    return element("th", name, scope="col", class_="figure" if is_figure else None)


def _row(headers: Sequence[str], cells: Sequence[Node], figures: Collection[int]) -> Html:
    assert len(cells) == len(headers)
    first = element("th", cells[0], scope="row")
    rest = [
        element(
            "td",
            cell,
            data_label=headers[place],
            class_=_class(cell, place in figures),
        )
        for place, cell in enumerate(cells[1:], 1)
    ]
    return element("tr", first, *rest)


def _class(cell: Node, is_figure: bool) -> str | None:
    names = [name for name, holds in (("figure", is_figure), ("empty", not cell)) if holds]
    return " ".join(names) or None
