"""Tables that can become cards."""

from xml.etree import ElementTree

from penjing.report.markup import element
from penjing.report.table import noted, table


def test_cells_know_their_column() -> None:
    made = table(("stage", "reward"), [["zero", "<1>"], ["rl1", None]], figures={1})
    root = ElementTree.fromstring(made)
    cells = list(root.iter("td"))
    assert [cell.get("data-label") for cell in cells] == ["reward", "reward"]
    assert [cell.get("class") for cell in cells] == ["figure", "figure empty"]
    assert [cell.text for cell in cells] == ["<1>", None]
    assert [head.get("scope") for head in root.iter("th")] == ["col", "col", "row", "row"]


def test_a_foot() -> None:
    root = ElementTree.fromstring(table(("a", "b"), [["1", "2"]], foot=["all", "2"]))
    foot = root.find(".//tfoot")
    assert foot is not None
    assert "".join(foot.itertext()) == "all2"


def test_notes_stand_under_what_they_belong_to() -> None:
    assert noted("5", "", None, "<s>") == "5<small>&lt;s&gt;</small>"
    assert noted(element("b", "5")) == "<b>5</b>"
