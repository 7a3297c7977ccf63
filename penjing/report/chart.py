"""Pictures in SVG: a line over steps, and an interval on a bar."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from penjing.report.axis import Axis
from penjing.report.markup import Html, element, joined
from penjing.report.series import Series

WIDTH, HEIGHT = 260, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 22
_BAR_WIDTH, _BAR_HEIGHT = 160, 16
_EDGE = 6


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Ends of both axes, and how a figure of the upright one is written."""

    steps: tuple[float, float]
    values: tuple[float, float]
    write: Callable[[float], str]

    @property
    def across(self) -> Axis:
        low, high = self.steps
        return Axis(low=low, high=max(high, low + 1), first=_LEFT, last=WIDTH - _RIGHT)

    @property
    def upright(self) -> Axis:
        low, high = self.values
        return Axis(low=low, high=high, first=HEIGHT - _BOTTOM, last=_TOP)


def line_chart(line: Series, frame: Frame, label: str, marks: Sequence[float] = ()) -> Html:
    """Every step thin, their running mean thick; ``marks`` are steps to be pointed out."""
    drawn = [
        _path(line.thinned(), frame, "raw"),
        _path(line.smooth().thinned(), frame, "line"),
    ]
    if len(line.values) == 1:
        x, y = frame.across.place(line.steps[0]), frame.upright.place(line.values[0])
        drawn.append(element("circle", class_="dot", cx=_short(x), cy=_short(y), r=3))
    return _picture(
        WIDTH, HEIGHT, label, _grid(frame), *(_mark(step, frame) for step in marks), *drawn
    )


def interval_bar(
    value: float, low: float, high: float, label: str, ends: tuple[float, float] = (0.0, 1.0)
) -> Html:
    """A dot with its interval, between two ends."""
    axis = Axis(low=ends[0], high=ends[1], first=_EDGE, last=_BAR_WIDTH - _EDGE)
    left, middle, right = (_short(axis.place(v)) for v in (low, value, high))
    y = _BAR_HEIGHT / 2
    return _picture(
        _BAR_WIDTH,
        _BAR_HEIGHT,
        label,
        element("line", class_="axis", x1=_EDGE, x2=_BAR_WIDTH - _EDGE, y1=y, y2=y),
        element("line", class_="interval", x1=left, x2=right, y1=y, y2=y),
        element("circle", class_="dot", cx=middle, cy=y, r=4),
    )


def target_bar(value: float, target: float | None, most: float, label: str) -> Html:
    """How much there was, as a bar, and how much was foreseen, as a stroke across it."""
    axis = Axis(low=0.0, high=most, first=1, last=_BAR_WIDTH - 1)
    width = _short(axis.place(value) - axis.first)
    drawn = [element("rect", class_="amount", x=1, y=4, height=8, width=width)]
    if target is not None:
        x = _short(axis.place(target))
        drawn.append(element("line", class_="target", x1=x, x2=x, y1=0, y2=_BAR_HEIGHT))
    return _picture(_BAR_WIDTH, _BAR_HEIGHT, label, *drawn)


def _picture(width: int, height: int, label: str, *drawn: Html) -> Html:
    box = f"0 0 {width} {height}"
    return element(
        "svg", element("title", label), *drawn, viewBox=box, role="img", aria_label=label
    )


def _grid(frame: Frame) -> Html:
    lines = []
    for value in frame.upright.ticks(4):
        y = _short(frame.upright.place(value))
        lines.append(element("line", class_="grid", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y))
        said = frame.write(value)
        lines.append(element("text", said, class_="y", x=_LEFT - 6, y=y, dy="0.32em"))
    for step in (tick for tick in frame.across.ticks(4) if tick == round(tick)):
        x = _short(frame.across.place(step))
        said = f"{step:,.0f}"
        lines.append(element("text", said, class_="x", x=x, y=HEIGHT - 5))
    return joined(*lines)


def _mark(step: float, frame: Frame) -> Html:
    x = _short(frame.across.place(step))
    return element("line", class_="mark", x1=x, x2=x, y1=_TOP, y2=HEIGHT - _BOTTOM)


def _path(line: Series, frame: Frame, kind: str) -> Html:
    points = [
        f"{_short(frame.across.place(step))} {_short(frame.upright.place(value))}"
        for step, value in zip(line.steps, line.values, strict=True)
    ]
    return element("path", class_=kind, d=f"M{'L'.join(points)}")


def _short(place: float) -> str:
    """A tenth of a unit is finer than a screen shows."""
    return f"{place:.1f}".removesuffix(".0")
