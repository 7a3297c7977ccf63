from penjing.tasks.attack_responses import all_attacks


def test_all_attacks_are_listed_once() -> None:
    attacks = all_attacks()
    assert len({(attack.group, attack.name) for attack in attacks}) == len(attacks) > 400
    assert {attack.group for attack in attacks} >= {
        *("nothing", "values", "orders", "templates", "thinking", "several", "both", "marks"),
        *("echo", "near", "look-alikes", "garbage", "computing", "parsing", "10 MB", "programs"),
    }
