"""What is said of protections that lack, to those who need them and to those who do not."""

import pytest

from penjing.tasks.sandbox.protections import (
    ALL,
    Protection,
    ProtectionReport,
    ProtectionState,
)


def report(*missing: Protection, why: str = "denied") -> ProtectionReport:
    states = tuple(
        ProtectionState(protection=p, is_active=p not in missing, how=why if p in missing else "so")
        for p in Protection
    )
    return ProtectionReport(states=states, remedy="turn it on")


def test_nothing_is_said_where_nothing_lacks() -> None:
    assert report().refusal(ALL) is None
    assert report().warning() is None
    assert report().missing == frozenset()


@pytest.mark.parametrize("protection", Protection)
def test_each_is_needed_unless_waived(protection: Protection) -> None:
    found = report(protection)
    said = found.refusal(ALL)
    assert said is not None
    assert "\n" not in said
    assert f"{protection} (denied)" in said
    assert "turn it on" in said
    assert found.refusal(ALL - {protection}) is None
    assert found.missing == {protection}


def test_the_warning_names_all_that_lacks_and_each_reason_once() -> None:
    said = report(Protection.NETWORK, Protection.IPC, why="not permitted").warning()
    assert said == ("penjing: programs run WITHOUT these protections: network, ipc (not permitted)")


def test_a_report_is_a_table() -> None:
    lines = str(report(Protection.FILES)).splitlines()
    assert len(lines) == len(Protection)
    assert lines[1].split() == ["files", "MISSING", "denied"]
    assert lines[0].split() == ["user", "active", "so"]


def test_detail_is_added_only_to_what_is_in_place() -> None:
    added = report(Protection.FILES).with_detail(Protection.FILES, "more")
    assert added == report(Protection.FILES)
    states = {s.protection: s.how for s in report().with_detail(Protection.IPC, "more").states}
    assert states[Protection.IPC] == "so; more"
    assert states[Protection.FILES] == "so"
