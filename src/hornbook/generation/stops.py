"""Stop strings in a stream of text: found across token boundaries, cut off, and never shown even in part.

Text ends where the first stop string is complete, reading character by character, so that the result does not depend
on how the text was cut into tokens. While streaming, a suffix that may yet become a stop string is held back:

    stop "END":   push("the E") -> "the "    push("N") -> ""    push("ding") -> "ENding"
"""

from collections.abc import Sequence


class StopScanner:
    """Passes text through until one of `stops` (non-empty strings) is complete; then `stopped` is true."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """The part of what is held and `text` that can no longer belong to a stop string; "" once stopped."""
        if self.stopped:
            return ""
        self._held += text
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            _, at = min(found)  # the one completed first; of those, the longest
            self.stopped = True
            released, self._held = self._held[:at], ""
            return released
        cut = len(self._held) - self._possible_prefix()
        released, self._held = self._held[:cut], self._held[cut:]
        return released

    def finish(self) -> str:
        """What was held back, now that no more text comes."""
        released, self._held = self._held, ""
        return released

    def _possible_prefix(self) -> int:
        """Length of the longest suffix of the held text that begins a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(len(stop) > length and self._held.endswith(stop[:length]) for stop in self._stops):
                return length
        return 0
