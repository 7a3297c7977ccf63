from penjing.engine.sequence import Sequence, Status


def test_the_prompt_is_what_it_began_with() -> None:
    sequence = Sequence(key=3, ids=[7, 8, 9])
    assert (sequence.num_prompt, sequence.num_generated, sequence.num_pending) == (3, 0, 3)
    sequence.ids.append(10)
    sequence.num_computed = 3
    assert (sequence.num_prompt, sequence.num_generated, sequence.num_pending) == (3, 1, 1)


def test_it_begins_with_nothing() -> None:
    sequence = Sequence(key=0, ids=[1], state="anything")
    assert sequence.status is Status.WAITING
    assert (sequence.pages, sequence.siblings, sequence.leader) == ([], [], None)
    assert sequence.state == "anything"


def test_two_alike_are_not_equal() -> None:
    """Queues look for this very sample, and samples of a group are alike at first."""
    one, other = Sequence(key=0, ids=[1]), Sequence(key=0, ids=[1])
    assert one != other
    assert [other, one].index(one) == 1
    assert one.pages is not other.pages


def test_what_it_prints_is_short() -> None:
    sequence = Sequence(key=5, ids=list(range(100_000)))
    sequence.siblings = [Sequence(key=6, ids=[1])]
    sequence.siblings[0].leader = sequence
    assert len(repr(sequence)) < 120
