"""Denoising as it happens, in the terminal: masks that become words, the surest first."""

import time
from collections.abc import Iterator
from itertools import groupby
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from hornbook.generation.denoising import DenoiseStep
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tracking.figures import printable

MASK = "░░"
SECONDS_A_FRAME = 0.06
"""A step is shown for this long at least; what the model takes longer for is shown for as long as that takes."""

_STYLES = {"masked": "dim", "new": "bold green", "old": ""}


class DenoisingAnimation:
    """Shows each step that it is called with, one row at a time; a context manager, after which the terminal is clean.

    with DenoisingAnimation(tokenizer) as animation:
        generate_text(..., on_step=animation)
    """

    def __init__(self, tokenizer: Tokenizer, *, console: Console | None = None) -> None:
        self._tokenizer = tokenizer
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._next = 0.0

    def __enter__(self) -> "DenoisingAnimation":
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._live.__exit__(kind, error, trace)

    def __call__(self, step: DenoiseStep) -> None:
        """Show a step, after the one before has been seen."""
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._live.update(_on_screen(picture(self._tokenizer, step), self._live.console), refresh=True)
        self._next = time.monotonic() + SECONDS_A_FRAME


def picture(tokenizer: Tokenizer, step: DenoiseStep) -> Text:
    """A row after a step: what was just decided stands out, and what is still masked is shaded."""
    masked = step.row_tokens.count(None)
    text = Text().append(f"step {step.step + 1}, {masked} of {len(step.row_tokens)} tokens masked\n", style="dim")
    for state, run in _runs(step):
        shown = MASK * len(run) if state == "masked" else printable(tokenizer.decode(run, skip_special=True))
        text.append(shown, style=_STYLES[state])
    return text


def _on_screen(text: Text, console: Console) -> Text:
    """As many lines as the terminal has room for; of more, the first and those around what was just decided."""
    title, *lines = text.wrap(console, console.width)
    room = max(1, console.height - 2)
    if len(lines) > room:
        new = [number for number, line in enumerate(lines) if any(span.style == _STYLES["new"] for span in line.spans)]
        first = min(max(0, (new[0] if new else 0) - room // 2), len(lines) - room)
        lines = lines[first : first + room]
    return Text("\n").join([title, *lines])


def _runs(step: DenoiseStep) -> Iterator[tuple[str, list[int]]]:
    """Neighbours of one state together, since a character may be of several tokens; ids of masked ones are 0."""
    new = set(step.positions)
    states = [
        (("masked" if token is None else "new" if position in new else "old"), token or 0)
        for position, token in enumerate(step.row_tokens)
    ]
    for state, run in groupby(states, key=lambda pair: pair[0]):
        yield state, [token for _, token in run]
