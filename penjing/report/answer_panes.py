"""Responses side by side: what thinks is told from what answers, and nothing in them is markup."""

import re
from collections.abc import Mapping

from penjing.evaluate.sample import Sample
from penjing.report.answers import GAINED, KEPT, LOST, NEITHER, Contest, Exchange, contests
from penjing.report.markup import Html, element, joined
from penjing.report.questions import questions
from penjing.report.run import Run
from penjing.report.wording import counted
from penjing.tasks.problem import Problem, Verdict

MOST_CHARACTERS = 4_000  # of one response
_THINKING = re.compile(r"(<think>.*?(?:</think>|\Z))", re.DOTALL)
_SIGNS = {Verdict.CORRECT: "\u2713 right", Verdict.WRONG: "\u2717 wrong"}
_OUTCOMES = {
    GAINED: "wrong before, right after",
    KEPT: "right both times",
    LOST: "right before, wrong after",
    NEITHER: "wrong both times",
}


def answer_panes(run: Run) -> Html:
    found = contests(run)
    if not found:
        return element("p", "No two stages have answered the same problems so far.", class_="lead")
    asked, why = questions(run)
    lead = (
        "The first answer of each stage to the same held-out problem. Those shown are the first of "
        "each outcome in the order of their ids; nobody picked them."
    )
    missing = element("p", f"The questions are left out: {why}.", class_="note") if why else None
    return joined(
        element("p", lead, class_="lead"), missing, *(_contest(one, asked) for one in found)
    )


def _contest(contest: Contest, asked: Mapping[str, Problem]) -> Html:
    title = " \u2192 ".join(contest.stages[-2:])
    if len(contest.stages) > 2:
        title += f", taught by {contest.stages[0]}"
    whole = sum(contest.tally.values())
    said = [f"{contest.tally.get(o, 0):,} {words}" for o, words in _OUTCOMES.items()]
    return joined(
        element("h3", title),
        element("p", f"Of {counted(whole, 'problem')}: {'; '.join(said)}.", class_="note"),
        *(_exchange(exchange, contest, asked) for exchange in contest.shown),
    )


def _exchange(exchange: Exchange, contest: Contest, asked: Mapping[str, Problem]) -> Html:
    problem = asked.get(exchange.problem)
    question = element("code", exchange.problem) if problem is None else joined(problem.prompt)
    right = None
    if problem is not None and problem.reference:
        right = element("small", f"right: {problem.reference[:200]}")
    panes = [
        _pane(stage, sample) for stage, sample in zip(contest.stages, exchange.answers, strict=True)
    ]
    return element(
        "article",
        element("p", element("bdi", question), right, class_="question"),
        element("div", *panes, class_="panes"),
        class_="exchange",
    )


def _pane(stage: str, sample: Sample) -> Html:
    sign = _SIGNS.get(sample.grade.verdict, "\u2013 no answer")
    head = element(
        "p",
        element("b", stage),
        " ",
        element("span", sign, class_=f"verdict {sample.grade.verdict.value}"),
        element("small", counted(sample.num_tokens, "token")),
        class_="who",
    )
    return element("div", head, response(sample.response), class_="pane")


def response(whole: str) -> Html:
    """In the writing of the model: blanks, lines and signs as they are."""
    cut = whole[:MOST_CHARACTERS]
    parts = [
        element("span", part, class_="thinking") if part.startswith("<think>") else part
        for part in _THINKING.split(cut)
        if part
    ]
    more = len(whole) - len(cut)
    rest = element("span", f"\n\u2026 {counted(more, 'more character')}", class_="more")
    if not whole:
        parts = [element("span", "(nothing)", class_="more")]
    return element("pre", *parts, rest if more else None, dir="auto")
