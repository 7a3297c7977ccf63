"""Errors a user sees: one line, the nearest name, the right exit status."""

import pytest

from penjing.errors import (
    BadFile,
    BadQuantity,
    Contradiction,
    DoesNotFit,
    PenjingError,
    RequestError,
    UnknownName,
    Unpublished,
    nearest_names,
)


@pytest.mark.parametrize("kind", [UnknownName, BadQuantity, BadFile, Contradiction, Unpublished])
def test_a_wrong_request_exits_with_two(kind: type[PenjingError]) -> None:
    assert issubclass(kind, RequestError)
    assert kind.exit_status == 2


def test_what_does_not_fit_exits_with_one_and_is_no_wrong_request() -> None:
    error = DoesNotFit("needs 94 GiB, has 80", shortfall_bytes=14 * 2**30, nearest="2xH20")
    assert DoesNotFit.exit_status == 1
    assert not isinstance(error, RequestError)
    assert (error.shortfall_bytes, error.nearest) == (14 * 2**30, "2xH20")
    assert str(error) == "needs 94 GiB, has 80"


def test_unknown_name_offers_the_nearest() -> None:
    error = UnknownName("chip", "H2O", ["H20", "H200", "L20"])
    assert str(error) == "unknown chip 'H2O'; nearest: H20"
    assert error.nearest == ("H20",)


def test_unknown_name_lists_what_is_known_when_nothing_is_near() -> None:
    error = UnknownName("engine", "zzz", ["vllm", "sglang"], "see --help")
    assert str(error) == "unknown engine 'zzz'; known: sglang, vllm; see --help"


def test_a_long_list_of_known_names_is_cut() -> None:
    error = UnknownName("chip", "zzz", [f"a{i:02}" for i in range(15)])
    assert str(error).endswith("a10, a11 and 3 more")


def test_nearest_names_ignore_case_spaces_and_dashes() -> None:
    assert nearest_names("rtx4090", ["RTX 4090", "L40"])[0] == "RTX 4090"
    assert nearest_names("H20_3E", ["H20-3e", "H20"])[0] == "H20-3e"


def test_a_part_of_a_name_finds_the_whole() -> None:
    assert nearest_names("910", ["Ascend 910B2", "MI300X"]) == ("Ascend 910B2",)


def test_the_shortest_whole_comes_first() -> None:
    assert nearest_names("H20", ["H200 SXM", "H20-3e", "H20"])[:2] == ("H20", "H20-3e")


def test_nothing_typed_is_near_nothing() -> None:
    assert nearest_names("", ["H20"]) == ()
