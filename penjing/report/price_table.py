"""The same recipe at R1's size: chips, hours and dollars side by side."""

from penjing.plan.plan import Predicted
from penjing.report.at_scale import ASSUMED, NUM_CHIPS, AtScale, Column, Cost, Work
from penjing.report.markup import Html, Node, element, joined
from penjing.report.table import noted, table
from penjing.report.wording import plain
from penjing.units import format_seconds

FOR_SCALE = (
    "For comparison: DeepSeek reports 101,000 H800-hours for R1-Zero, 10,400 steps of 512 "
    "responses, and 147,000 for R1 in all (arXiv 2501.12948v2, appendix B.4.4)."
)


def price_table(scale: AtScale) -> Html:
    if not scale.works:
        lead = "No stage of this recipe says how much of it there is, so nothing can be priced."
        return element("p", lead, class_="lead")
    headers = ("Stage", *(f"{column.chip}, chip-hours" for column in scale.columns))
    rows = [
        [noted(work.stage, what(work)), *(_cell(column.costs[n]) for column in scale.columns)]
        for n, work in enumerate(scale.works)
    ]
    foot: list[Node] = ["The whole recipe", *(_cell(column.total) for column in scale.columns)]
    notes = [*ASSUMED, *_prices(scale), *_left_out(scale), FOR_SCALE]
    return joined(
        element("p", _lead(), class_="lead"),
        table(headers, rows, figures=range(1, len(headers)), foot=foot),
        element("ul", *(element("li", note) for note in notes), class_="notes"),
    )


def what(work: Work) -> str:
    """How much of a stage there is."""
    match work.kind:
        case "reject":
            return f"sampling, {work.count / 1e6:,.3g} M tokens"
        case _:
            return f"{work.kind}, {work.count:,.0f} steps"


def _lead() -> str:
    return (
        f"What DeepSeek-R1 would need for these stages, by the planner, on {NUM_CHIPS} chips of "
        "each kind: chip-hours, with the ends between which four in five such predictions have "
        "lain, then time and dollars."
    )


def _cell(cost: Cost) -> Node:
    hours = cost.chip_hours
    if cost.seconds is None or hours is None:
        return element("span", f"no layout fits: {cost.why}", class_="unfit")
    dollars = "no price known" if cost.usd is None else f"${money(cost.usd.value)}"
    return noted(
        plain(hours.value),
        _ends(hours),
        f"{format_seconds(cost.seconds.value)}, {dollars}",
        cost.why,
    )


def _ends(hours: Predicted) -> str:
    if hours.low is None or hours.high is None:
        return ""
    return f"{plain(hours.low)} to {plain(hours.high)}"


def money(usd: float) -> str:
    """Dollars, cents where they count."""
    return f"{usd:,.2f}" if usd < 100 else f"{usd:,.0f}"


def _prices(scale: AtScale) -> list[str]:
    """They come from different places, and compare worse than the hours do."""
    caution = "The prices do not rest on one footing: compare hours before dollars."
    return [*(_price(column) for column in scale.columns), caution]


def _price(column: Column) -> str:
    if column.price is None:
        return f"{column.chip}: no price is known."
    return f"{column.chip}: ${column.price.usd_per_h:.2f} a chip-hour, {column.price.source}."


def _left_out(scale: AtScale) -> list[str]:
    """One line for each reason."""
    reasons = dict.fromkeys(scale.left_out.values())
    named = {why: [s for s, its in scale.left_out.items() if its == why] for why in reasons}
    return [f"Left out: {', '.join(stages)} ({why})." for why, stages in named.items()]
