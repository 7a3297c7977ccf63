"""Ids to text, as they come, up to the first stop string."""

from collections.abc import Callable

_LOST = "\N{REPLACEMENT CHARACTER}"  # how decoders write bytes that are no character (yet)
_MOST_IDS = 16  # decoded at once, where the ids allow it
_FEWEST_IDS = 8  # kept for context: more than the bytes of a character
_MOST_SILENT_IDS = 64  # without text: more of them add nothing to the context
_CHARACTER_BYTES = 4


class TextStream:
    """The text of one sample; its total cost is linear in the number of ids.

    ``decode`` must only ever append: no clean-up of spaces before commas. It may drop a space at
    the start of what it is given, as decoders of SentencePiece do, and write any bytes that are not
    UTF-8 as U+FFFD. Pieces put together are ``decode(all ids)`` cut before the stop string; the one
    exception are decoders that fall back to bytes (Llama 2), which take back good characters when
    later bytes are bad, where this keeps them.

    The stop string is the one that is complete first, reading character by character; of several
    that end together, the longest. So the cut depends on the text, not on how ids split it.
    """

    def __init__(self, decode: Callable[[list[int]], str], stops: tuple[str, ...] = ()) -> None:
        self._decode, self._stops = decode, stops
        self._window: list[int] = []  # the last ids, enough to decode the next one rightly
        self._text = ""  # of the window
        self._num_safe = 0  # characters of ``_text`` that no later id can change
        self._num_open = 0  # ids since the text last ended in a whole character
        self._held = ""  # safe, but perhaps the beginning of a stop string
        self.stopped: str | None = None

    def push(self, token: int, *, may_stop: bool = True) -> str:
        """The text that can be shown after this id; empty once more may change what it means.

        No stop string begins in the text of an id that ``may_stop`` was false for.
        """
        assert self.stopped is None, "the stream has ended"
        text = self._decode([*self._window, token])
        num_lost = len(text) - len(text.rstrip(_LOST))
        if text == self._text and not num_lost and len(self._window) >= _MOST_SILENT_IDS:
            return ""
        self._window.append(token)
        self._text = text
        self._num_open = self._num_open + 1 if num_lost else 0
        if self._num_open > _CHARACTER_BYTES:  # no character is that long: only the end is open
            num_lost = min(num_lost, _CHARACTER_BYTES - 1)
        start, self._num_safe = self._num_safe, max(self._num_safe, len(text) - num_lost)
        fresh = text[start : self._num_safe]
        if len(self._window) > _MOST_IDS:
            self._trim()
        return self._show(fresh) if may_stop else fresh

    def finish(self) -> str:
        """What was held back, half a character included; it may still complete a stop string."""
        if self.stopped is not None:
            return ""
        fresh, self._num_safe = self._text[self._num_safe :], len(self._text)
        shown = self._show(fresh)
        held, self._held = self._held, ""
        return shown + held

    def _trim(self) -> None:
        """Drop old ids, if the rest alone decode to the same end.

        A cut inside a character leaves up to three bytes of it, each U+FFFD; from the next
        character on, both decodings agree for good.
        """
        if 0 < self._num_open <= _CHARACTER_BYTES:
            return
        window = self._window[-_FEWEST_IDS:]
        text = self._decode(window)
        num_lost = min(len(text) - len(text.lstrip(_LOST)), _CHARACTER_BYTES - 1)
        num_open = len(self._text) - self._num_safe
        if len(text) - num_lost > num_open and self._text.endswith(text[num_lost:]):
            self._window, self._text, self._num_safe = window, text, len(text) - num_open

    def _show(self, fresh: str) -> str:
        text = self._held + fresh
        found = [(at + len(s), at, s) for s in self._stops if (at := text.find(s)) >= 0]
        if found:
            _, at, self.stopped = min(found)
            self._held = ""
            return text[:at]
        longest = max((len(s) for s in self._stops), default=1)
        sizes = range(min(longest - 1, len(text)), 0, -1)
        ends = (n for n in sizes if any(s.startswith(text[-n:]) for s in self._stops))
        num_held = next(ends, 0)
        self._held = text[len(text) - num_held :]
        return text[: len(text) - num_held]
