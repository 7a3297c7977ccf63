"""Pictures that say what they show."""

import re
from xml.etree import ElementTree

import pytest

from penjing.report.chart import Frame, interval_bar, line_chart, target_bar
from penjing.report.series import Series
from penjing.report.wording import tick

FRAME = Frame(steps=(1.0, 4.0), values=(0.0, 1.0), write=tick)
LINE = Series(steps=(1.0, 2.0, 3.0, 4.0), values=(0.0, 0.5, 1.0, 0.25))


def drawn(picture: str) -> ElementTree.Element:
    """Fails where it is no XML."""
    return ElementTree.fromstring(picture)


def places(path: ElementTree.Element) -> list[tuple[float, float]]:
    pairs = re.findall(r"[ML]([\d.]+) ([\d.]+)", path.attrib["d"])
    return [(float(x), float(y)) for x, y in pairs]


def test_a_line_goes_where_its_figures_are() -> None:
    picture = drawn(line_chart(LINE, FRAME, "Reward of zero"))
    raw = next(p for p in picture.iter("path") if p.get("class") == "raw")
    assert places(raw) == [(46, 128), (114.7, 68), (183.3, 8), (252, 98)]


def test_a_picture_has_a_title_for_those_who_do_not_see_it() -> None:
    for picture in (
        line_chart(LINE, FRAME, "a < b"),
        interval_bar(0.5, 0.4, 0.6, "a < b"),
        target_bar(1.0, 2.0, 3.0, "a < b"),
    ):
        root = drawn(picture)
        assert root.findtext("title") == "a < b"
        assert root.get("role") == "img"


def test_ticks_of_steps_are_whole() -> None:
    short = Frame(steps=(1.0, 3.0), values=(0.0, 1.0), write=tick)
    picture = drawn(line_chart(LINE, short, "x"))
    assert [t.text for t in picture.iter("text") if t.get("class") == "x"] == ["1", "2", "3"]
    assert [t.text for t in picture.iter("text") if t.get("class") == "y"] == ["0", "0.5", "1"]


def test_a_single_step_is_a_dot() -> None:
    one = Series(steps=(1.0,), values=(0.5,))
    picture = drawn(line_chart(one, FRAME, "x"))
    assert [c.get("cy") for c in picture.iter("circle")] == ["68"]


def test_marks_stand_at_their_steps() -> None:
    picture = drawn(line_chart(LINE, FRAME, "x", marks=[2.0]))
    assert [m.get("x1") for m in picture.iter("line") if m.get("class") == "mark"] == ["114.7"]


def test_an_interval_lies_between_its_ends() -> None:
    picture = drawn(interval_bar(0.5, 0.25, 2.0, "x"))  # what is off the paper ends at its edge
    interval = next(p for p in picture.iter("line") if p.get("class") == "interval")
    assert (interval.get("x1"), interval.get("x2")) == ("43", "154")
    assert next(picture.iter("circle")).get("cx") == "80"


@pytest.mark.parametrize(("target", "strokes"), [(None, []), (30.0, ["80"])])
def test_a_target_is_a_stroke_across_the_bar(target: float | None, strokes: list[str]) -> None:
    picture = drawn(target_bar(15.0, target, 60.0, "x"))
    assert next(picture.iter("rect")).get("width") == "39.5"
    assert [p.get("x1") for p in picture.iter("line")] == strokes
