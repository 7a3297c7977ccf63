"""Seeds of samples."""

from penjing.evaluate.generator import sample_seed


def test_a_seed_hangs_on_all_three_and_on_nothing_else() -> None:
    found = {
        sample_seed(seed, problem, index)
        for seed in (0, 1)
        for problem in ("a", "b", "a\ud800")
        for index in (0, 1, 10)
    }
    assert len(found) == 18
    assert all(0 <= seed < 1 << 63 for seed in found)
    assert sample_seed(0, "gsm8k-1", 3) == 7807127743540780797  # the same on every machine
