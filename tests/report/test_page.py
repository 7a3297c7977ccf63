"""The whole page: in one file, harmless, and looked at in a browser where there is one."""

import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from penjing.report.at_scale import AtScale, works_of
from penjing.report.page import page
from penjing.report.run import Run, read_run
from tests.report.chromium import PROGRAM, Tab, chromium
from tests.report.conftest import sample, write_run, write_samples
from tests.report.test_price_table import SCALE

HOSTILE = (
    "<script>document.title='run'</script>",
    "</pre></main><img src=x onerror=\"document.title='run'\">",
    "<think><svg onload=document.title='run'></think><style>body{display:none}</style>",
    "\u202e<a href=javascript:document.title='run'>\x00\ud800\x1b]0;run\x07" + "\u0301" * 500,
    "<iframe srcdoc='<script>parent.document.title=1</script>'></iframe>" + "x" * 9000,
    "<!-- --!> <![CDATA[ ]]> <plaintext> <base href=http://example.com/> &lt;b&gt;",
)
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed here")


class Checked(HTMLParser):
    """Collects what could act or fetch, and asserts that every element ends where it should."""

    VOID = ("meta", "link")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(text: str) -> Checked:
    parser = Checked()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


def hostile(folder: Path) -> Run:
    """Every text of a run says something evil."""
    for stage, right in (("base", "000110"), ("zero", "111100")):  # so that all are shown
        answers = zip(HOSTILE, right, strict=True)
        found = [
            sample(f"p{number}", 0, right=flag == "1", response=said)
            for number, (said, flag) in enumerate(answers)
        ]
        write_samples(folder / stage, found)
    recipe = folder / "recipe.toml"
    text = recipe.read_text(encoding="utf-8")
    evil = "</style><script>document.title='run'</script>"
    recipe.write_text(text.replace("a run for tests", evil), encoding="utf-8")
    facts = folder / "run.json"
    facts.write_text(facts.read_text().replace('"tiny"', f'"{evil}"'), encoding="utf-8")
    return read_run(folder)


def test_everything_is_on_the_page(run: Run) -> None:
    text = page(run, SCALE)
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    assert titles == [
        *("Stages", "The plan against what happened", "Curves", "Mismatch", "Before and after"),
        *("At R1\u2019s size", "Settings"),
    ]
    assert "16.7\u202f% \u2192 66.7\u202f%" in text  # of the first model, and not of the student
    assert "<h1>tiny</h1>" in text
    assert "seed 0 \u00b7 penjing 0.1.0 \u00b7 recipe 0123456789ab" in text


def test_links_inside_the_page_lead_somewhere(run: Run) -> None:
    found = checked(page(run, SCALE)).found
    names = {attrs["id"] for _, attrs in found if "id" in attrs}
    links = {attrs["href"] for tag, attrs in found if tag == "a"}
    assert links == {f"#{name}" for name in names}


def test_the_same_run_gives_the_same_page(run: Run) -> None:
    assert page(run) == page(run)
    assert "R1\u2019s size" not in page(run)


def test_nothing_on_the_page_acts_or_fetches(folder: Path) -> None:
    text = page(hostile(folder), SCALE)
    text.encode("utf-8")
    found = checked(text).found
    tags = {tag for tag, _ in found}
    assert not tags & {"script", "img", "iframe", "object", "base", "form", "a:href", "plaintext"}
    links = [attrs.get("href") for tag, attrs in found if tag in ("a", "link")]
    assert all(link == "data:," or (link or "").startswith("#") for link in links)
    assert not [name for _, attrs in found for name in attrs if name.startswith("on")]
    assert "url(" not in text.split("</style>")[0]
    assert text.count("<style>") == 1
    assert "default-src 'none'".replace("'", "&#x27;") in text


def test_damage_is_shown_on_the_page(folder: Path) -> None:
    (folder / "zero" / "record.jsonl").write_text("{<b>}\n")
    text = page(read_run(folder))
    assert "Not all could be read" in text
    assert "zero/record.jsonl: 1 lines are no steps" in text


def test_a_run_that_has_just_begun_is_a_page(folder: Path) -> None:
    for stage in ("base", "zero", "data", "student_base", "distilled"):
        shutil.rmtree(folder / stage)
    run = read_run(folder)
    text = page(run, AtScale(works=(), columns=(), left_out=works_of(run)[1]))
    checked(text)
    assert "0 of 5" in text
    assert "Not begun: base, zero, data, student_base, distilled." in text


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_text_is_readable_in_every_scheme() -> None:
    style = (files("penjing.report") / "page.css").read_text(encoding="utf-8")
    schemes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(schemes) == 3  # light, dark, printed
    for scheme in schemes:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,8});", scheme))
        for name in ("ink", "soft", "leaf", "clay"):
            for ground in ("paper", "raised"):
                pair = [luminance((colours[n] + colours[n][1:])[:7]) for n in (name, ground)]
                contrast = (max(pair) + 0.05) / (min(pair) + 0.05)
                assert contrast >= 4.5, f"{name} on {ground}: {contrast:.2f}"  # WCAG 2.2, AA


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of a hostile run."""
    folder = tmp_path_factory.mktemp("run") / "tiny-0"
    write_run(folder)
    path = folder / "report.html"
    path.write_text(page(hostile(folder), SCALE), encoding="utf-8")
    return path


@needs_browser
@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_it_fits_every_width_and_asks_the_network_for_nothing(
    tab: Tab, written: Path, width: int
) -> None:
    tab.open(written, width, 800)
    assert tab.run("document.documentElement.scrollWidth") == width
    wide = "[...document.querySelectorAll('pre')].filter(e => e.scrollWidth > e.clientWidth)"
    assert tab.run(f"{wide}.length") == 0
    assert tab.requests == [written.as_uri()]
    assert tab.said == []
    picture = tab.picture()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(picture[16:20], "big") == width
    assert int.from_bytes(picture[20:24], "big") > 2000


@needs_browser
def test_a_hostile_response_stays_a_text_in_a_browser(tab: Tab, written: Path) -> None:
    tab.open(written, 375, 800)
    assert tab.run("document.title").endswith("a run of penjing")
    shown = tab.run("[...document.querySelectorAll('pre')].map(e => e.textContent)")
    assert HOSTILE[0] in shown
    assert tab.run("document.querySelectorAll('script, img, iframe, pre *:not(span)').length") == 0
    assert tab.run("getComputedStyle(document.body).display") == "block"


@needs_browser
def test_it_is_dark_where_the_reader_wants_it(tab: Tab, written: Path) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        tab.open(written, 375, 800, prefers_color_scheme=scheme)
        grounds[scheme] = tab.run("getComputedStyle(document.body).backgroundColor")
    assert grounds == {"light": "rgb(253, 252, 249)", "dark": "rgb(21, 23, 20)"}


@needs_browser
def test_it_prints(tab: Tab, written: Path) -> None:
    tab.open(written, 1280, 800, prefers_color_scheme="dark")
    assert tab.pdf().startswith(b"%PDF")
    tab.call("Emulation.setEmulatedMedia", media="print")
    assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    clipped = "[...document.querySelectorAll('pre')].filter(e => e.scrollHeight > e.clientHeight)"
    assert tab.run(f"{clipped}.length") == 0
