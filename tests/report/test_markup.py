"""No text becomes markup."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from penjing.report.markup import Html, element, joined, text

ANY_TEXT = st.text(st.characters(exclude_categories=())) | st.text("<>&\"'/ abc=\x00\ud800")


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.data = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.data += data


@given(ANY_TEXT, ANY_TEXT)
def test_any_text_stays_text(inside: str, value: str) -> None:
    whole = element("p", inside, title=value)
    whole.encode("utf-8")
    seen = Seen()
    seen.feed(whole)
    seen.close()
    assert [tag for tag, _ in seen.tags] == ["p"]
    assert [name for name, _ in seen.tags[0][1]] == ["title"]


def test_a_script_is_shown_not_run() -> None:
    made = element("p", "<script>alert('1 & 2')</script>")
    assert made == "<p>&lt;script&gt;alert(&#x27;1 &amp; 2&#x27;)&lt;/script&gt;</p>"


def test_markup_is_not_escaped_twice() -> None:
    assert element("p", element("b", "a < b"), None, " c") == "<p><b>a &lt; b</b> c</p>"
    assert joined("<", Html("<br>")) == "&lt;<br>"


def test_adding_to_markup_makes_it_text_again() -> None:
    assert element("p", element("b", "x") + "<i>") == "<p>&lt;b&gt;x&lt;/b&gt;&lt;i&gt;</p>"


def test_attributes() -> None:
    made = element("td", class_="figure", data_label='a "b"', hidden=True, title=None)
    assert made == '<td class="figure" data-label="a &quot;b&quot;" hidden></td>'


def test_elements_without_an_end() -> None:
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'


def test_what_no_page_can_show_is_marked() -> None:
    assert text("a\x00b\ud800c\x1b[0m\n\t") == "a\ufffdb\ufffdc\ufffd[0m\n\t"
