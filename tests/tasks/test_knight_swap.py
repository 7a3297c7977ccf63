"""Solutions are played, and are as short as reasoning_gym's."""

from penjing.tasks.knight_swap import solve

BOARD = {"A1": ["B3"], "B3": ["A1", "C1"], "C1": ["A2", "B3"], "A2": ["C1"]}


def test_what_cannot_be_done() -> None:
    """By hand: on a path of four squares nobody can pass."""
    assert solve(BOARD, {"A1": "w", "A2": "B", "B3": None, "C1": None}, "w") is None


def test_moves_take_turns_and_end_swapped() -> None:
    """A ring of eight squares around the center: four knights, each moves four squares."""
    ring = ["A1", "B3", "C1", "A2", "C3", "B1", "A3", "C2"]
    board = {at: [ring[i - 1], ring[(i + 1) % 8]] for i, at in enumerate(ring)}
    pieces = {"A1": "w", "C1": "w", "A3": "B", "C3": "B"} | {
        at: None for at in ring if at not in ("A1", "C1", "A3", "C3")
    }
    moves = solve(board, pieces, "w")
    assert moves is not None
    assert len(moves) == 16
    standing = dict(pieces)
    for turn, (color, start, end) in enumerate(moves):
        assert color == "wB"[turn % 2] == standing[start]
        assert standing[end] is None
        assert end in board[start]
        standing[start], standing[end] = None, color
    assert {at for at, piece in standing.items() if piece == "w"} == {"A3", "C3"}
    assert solve(board, pieces, "w") == moves


def test_a_swap_that_is_done() -> None:
    assert solve(BOARD, {"A1": None}, "w") == []
