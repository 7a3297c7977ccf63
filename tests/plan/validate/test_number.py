"""Numbers as tables write them."""

import pytest

from penjing.plan.validate.number import Unmapped, number, whole


@pytest.mark.parametrize(("text", "value"), [("1,024", 1024.0), ("2.5", 2.5), ("0", 0.0)])
def test_what_a_number_is(text: str, value: float) -> None:
    assert number(text, "length", 1e4) == value


@pytest.mark.parametrize("text", ["", ".", "1.2.3", "many"])
def test_other_text_is_named(text: str) -> None:
    with pytest.raises(Unmapped) as caught:
        number(text, "length", 1e4)
    assert str(caught.value) == f"length not understood ({text or 'blank'})"


@pytest.mark.parametrize("text", ["10001", "-1", "inf", "nan", "1e400"])
def test_what_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(Unmapped, match=r"^length of \S+ is not between 0 and 10,000$"):
        number(text, "length", 1e4)


def test_a_count_is_at_least_one() -> None:
    assert whole("8", "chips", 16) == 8
    with pytest.raises(Unmapped, match="chips of 0 is below one"):
        whole("0", "chips", 16)
