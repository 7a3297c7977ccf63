"""The shortest way to swap white and black knights, the same one on every machine."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

Move = tuple[str, str, str]  # color, from, to
State = tuple[frozenset[str], frozenset[str], str]  # where white and black stand, whose turn it is


def solve(
    board: Mapping[str, Sequence[str]], pieces: Mapping[str, str | None], start_turn: str
) -> Sequence[Move] | None:
    """Breadth first; ``w`` and ``B`` take turns. None: it cannot be done."""
    white, black = (frozenset(p for p, piece in pieces.items() if piece == c) for c in "wB")
    first: State = (white, black, start_turn)
    came_from: dict[State, tuple[State, Move] | None] = {first: None}
    queue = deque([first])
    while queue:
        state = queue.popleft()
        if state[:2] == (black, white):
            return list(reversed(list(_steps_back(came_from, state))))
        for move, after in _moves(board, state):
            if after not in came_from:
                came_from[after] = state, move
                queue.append(after)
    return None


def _steps_back(
    came_from: Mapping[State, tuple[State, Move] | None], state: State
) -> Iterator[Move]:
    step = came_from[state]
    while step is not None:
        yield step[1]
        step = came_from[step[0]]


def _moves(board: Mapping[str, Sequence[str]], state: State) -> Iterator[tuple[Move, State]]:
    """In alphabetical order: iterating over a set of texts would hang on the process."""
    white, black, turn = state
    mine, others = (white, black) if turn == "w" else (black, white)
    for start in sorted(mine):
        for end in sorted(board[start]):
            if end not in mine and end not in others:
                moved = mine - {start} | {end}
                after = (moved, others, "B") if turn == "w" else (others, moved, "w")
                yield (turn, start, end), after
