"""The two dicts that cross from one process to another."""

import marshal
from typing import get_type_hints

from penjing.tasks.sandbox import machine, supervisor
from penjing.tasks.sandbox.plan import Plan, Told


def test_a_bare_plan_has_every_key_and_survives_the_way() -> None:
    plan = machine._bare_plan(1000, 1)
    assert set(plan) == set(get_type_hints(Plan))
    assert marshal.loads(marshal.dumps({**plan})) == plan


def test_what_is_told_has_every_key_and_survives_the_way() -> None:
    told = supervisor._untold("why")
    assert set(told) == set(get_type_hints(Told))
    assert marshal.loads(marshal.dumps({**told})) == told
