"""One page that tells a run: no scripts, nothing fetched, everything in one file."""

from collections.abc import Sequence
from importlib.resources import files

from penjing.report.answer_panes import answer_panes
from penjing.report.at_scale import AtScale
from penjing.report.curves import curves
from penjing.report.estimates import pass_at_one
from penjing.report.knob_table import knob_table
from penjing.report.markup import Html, element, joined
from penjing.report.mismatch import mismatch
from penjing.report.plan_table import plan_table
from penjing.report.price_table import price_table
from penjing.report.run import Run, StageRun
from penjing.report.stage_table import stage_table
from penjing.report.wording import percent
from penjing.units import format_bytes, format_seconds

# Even if a response found a way to be markup, a browser would neither run nor fetch anything.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"


def page(run: Run, scale: AtScale | None = None) -> str:
    """HTML in UTF-8. ``scale`` None leaves out what R1's size would cost."""
    sections = [
        ("stages", "Stages", stage_table(run)),
        ("plan", "The plan against what happened", plan_table(run)),
        ("curves", "Curves", curves(run)),
        ("mismatch", "Mismatch", mismatch(run)),
        ("answers", "Before and after", answer_panes(run)),
    ]
    if scale is not None:
        sections.append(("scale", "At R1\u2019s size", price_table(scale)))
    sections.append(("knobs", "Settings", knob_table(run)))
    body = element(
        "body",
        _header(run),
        element("nav", *(element("a", title, href=f"#{name}") for name, title, _ in sections)),
        element("main", *(_section(*section) for section in sections)),
        element("footer", f"Written by penjing report from {run.folder.name}."),
    )
    return "<!doctype html>\n" + element("html", _head(run), body, lang="en") + "\n"


def _head(run: Run) -> Html:
    style = files("penjing.report") / "page.css"
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{run.name}: a run of penjing"),
        element("link", rel="icon", href="data:,"),
        element("style", Html(style.read_text(encoding="utf-8"))),
    )


def _section(name: str, title: str, content: Html) -> Html:
    return element("section", element("h2", title), content, id=name)


def _header(run: Run) -> Html:
    about = run.recipe.get("about")
    facts = [
        ("seed", run.facts.get("seed")),
        ("penjing", run.facts.get("penjing")),
        ("recipe", str(run.facts.get("recipe_sha256", ""))[:12]),
    ]
    return element(
        "header",
        element("p", "penjing report", class_="kicker"),
        element("h1", run.name),
        element("p", str(about), class_="about") if about else None,
        element("dl", *(_figure(*row) for row in _figures(run)), class_="figures"),
        element(
            "p", " \u00b7 ".join(f"{k} {v}" for k, v in facts if v not in (None, "")), class_="note"
        ),
        _complaints(run.complaints),
    )


def _figure(name: str, value: str, note: str) -> Html:
    return element("div", element("dt", name), element("dd", value, element("small", note)))


def _figures(run: Run) -> list[tuple[str, str, str]]:
    done = [stage for stage in run.stages if stage.done is not None]
    walls = [stage.wall_s for stage in run.stages if stage.wall_s is not None]
    peaks = [stage.peak_bytes for stage in run.stages if stage.peak_bytes is not None]
    rows = [*_gain(run), ("Stages done", f"{len(done)} of {len(run.stages)}", "")]
    if walls:
        is_done = len(done) == len(run.stages)
        note = "evaluations included" if is_done else "so far"
        rows.append(("Time", format_seconds(sum(walls)), note))
    if peaks:
        rows.append(("Peak memory", format_bytes(max(peaks)), "of the process"))
    return rows


def _gain(run: Run) -> list[tuple[str, str, str]]:
    """Of the model that the first stage begins from, first measured to last."""
    measured: list[tuple[StageRun, float]] = []
    for stage in run.stages:
        share = None if stage.kind == "reject" else pass_at_one(stage)
        if share is not None and run.model_of(stage) == run.model_of(run.stages[0]):
            measured.append((stage, share.value))
    if not measured:
        return []
    (first, low), (last, high) = measured[0], measured[-1]
    if first is last:
        return [("pass@1", percent(low), first.name)]
    return [
        ("pass@1", f"{percent(low)} \u2192 {percent(high)}", f"{first.name} \u2192 {last.name}")
    ]


def _complaints(complaints: Sequence[str]) -> Html | None:
    if not complaints:
        return None
    rows = [element("li", complaint) for complaint in complaints]
    return joined(
        element("div", element("b", "Not all could be read"), element("ul", *rows), class_="damage")
    )
