"""Windows over a text: which tokens are read together, and which of their targets count, under each protocol.

    text         x0 x1 x2 x3 x4 x5 x6 x7 x8     window 4: the model reads x[b : b+4] and is asked x[b+1 : b+5]
    strided      .. x1 x2 x3 x4                 stride 2: the first window scores all of its targets,
                       -- -- x5 x6              each later one only its last `stride`: at least
                             -- -- x7 x8        window - stride + 1 tokens stand before each of them
    chunked      .. x1 x2 x3 x4 x5 x6 x7 x8     stride = window: cheapest, each window starts cold
    exact                                       stride 1: `window` times dearer; all the context that fits, always
    last-token   .. -- -- -- x4 .. -- -- -- x9  windows of window + 1 tokens side by side; one in window + 1 counts
    overlap-all  .. x1 x2 x3 x4                 stride 2: everything counts that is asked, x3 to x6 twice; the last
                       .. x3 x4 x5 x6 ...       window ends with the text

The first token of a text has no context and is not scored. strided is the method of
https://huggingface.co/docs/transformers/perplexity with max_length = window + 1, whose last token a model never needs
to read. last-token and overlap-all are there to compare with numbers that were made so.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hornbook.config.generate import EvalConfig
from hornbook.config.perplexity import PerplexityProtocol
from hornbook.errors import ConfigError, DataError

Span = tuple[int, int]
"""Places of a text's first token and of what follows its last."""


@dataclass(frozen=True)
class Window:
    """One reading: the model reads `length` tokens from `start` and its last `scored` targets count."""

    start: int
    length: int
    scored: int


@dataclass(frozen=True, kw_only=True)
class WindowPlan:
    """How windows are laid."""

    protocol: PerplexityProtocol
    window: int
    """Tokens that the model reads."""
    stride: int
    reset_documents: bool = False
    batch: int = 1
    """With last-token: windows are counted in batches of so many."""

    def windows(self, spans: Iterable[Span]) -> list[Window]:
        """Those of each span, in order; no window reaches beyond its span.

        Raises:
            DataError: if that leaves nothing to score.
        """
        found = [
            Window(first + at.start, at.length, at.scored) for first, end in spans for at in self._in_text(end - first)
        ]
        whole = len(found)
        found = found[: whole - whole % self.batch]
        if not found and self.protocol != "last-token":
            raise DataError(
                "the text leaves nothing to score: with reset_documents the first token of a document has no context "
                "where no end-of-text token stands before it; score longer documents, or leave reset_documents out"
            )
        if not found:
            raise DataError(
                f"protocol last-token: the text has {whole} windows of {self.window + 1} tokens and the protocol "
                f"counts them in batches of {self.batch}; score more text, or set last_token_batch = 1 or a smaller "
                "window"
            )
        return found

    def _in_text(self, n_tokens: int) -> Iterator[Window]:
        match self.protocol:
            case "last-token":
                return last_token_windows(n_tokens, window=self.window)
            case "overlap-all":
                return overlapping_windows(n_tokens, window=self.window, stride=self.stride)
        return plan_windows(n_tokens, window=self.window, stride=self.stride)

    @property
    def words(self) -> str:
        """How tokens are scored."""
        match self.protocol:
            case "last-token":
                how = (
                    f"windows of {self.window + 1} tokens side by side, of each the last token alone is scored, with "
                    f"{self.window} tokens of context; windows that do not fill a batch of {self.batch} are left out"
                )
            case "overlap-all":
                how = (
                    f"overlapping windows of {self.window} tokens, stride {self.stride}: every token of every window "
                    "is scored, so that most count more than once, with 1 token of context and more; for comparison "
                    "with numbers that were made so"
                )
            case _:
                how = (
                    f"sliding window of {self.window} tokens, stride {self.stride}: every token but the stream's "
                    f"first is scored once, after the first window with {self.window - self.stride + 1} to "
                    f"{self.window} tokens of context"
                )
        return f"{self.protocol}: {how}; context is {'' if self.reset_documents else 'not '}reset between documents"


def plan_of(config: EvalConfig, window: int) -> WindowPlan:
    """The plan that `[eval]` asks for, with windows of `window` tokens.

    Raises:
        ConfigError: if not 1 <= stride <= window where there is a choice.
    """
    half = max(1, window // 2)
    strides = {"chunked": window, "exact": 1, "last-token": window + 1}
    stride = strides.get(config.protocol) or config.stride or half
    if config.protocol not in strides and not 1 <= stride <= window:
        raise ConfigError(f"eval.stride = {stride}, expected 1 to eval.window = {window}, or some tokens go unscored")
    return WindowPlan(
        protocol=config.protocol,
        window=window,
        stride=stride,
        reset_documents=config.reset_documents,
        batch=config.last_token_batch if config.protocol == "last-token" else 1,
    )


def plan_windows(n_tokens: int, *, window: int, stride: int) -> Iterator[Window]:
    """Windows whose scored targets are 1 .. n_tokens - 1, each exactly once and in order.

    The last window is cut short where the stream ends; it keeps its place, so context is never less than elsewhere.
    """
    last_target = n_tokens - 1
    scored_to = 0
    for start in range(0, last_target, stride):
        end = min(start + window, last_target)  # the window's last target
        yield Window(start, end - start, end - scored_to)
        scored_to = end
        if end == last_target:
            return


def last_token_windows(n_tokens: int, *, window: int) -> Iterator[Window]:
    """Windows side by side of window + 1 tokens, the last of which is the only target that counts."""
    return (Window(start, window, 1) for start in range(0, n_tokens - window, window + 1))


def overlapping_windows(n_tokens: int, *, window: int, stride: int) -> Iterator[Window]:
    """Windows all of whose targets count; one more that ends with the text, if the others do not."""
    last_target = n_tokens - 1
    if last_target < 1:
        return
    length = min(window, last_target)
    starts = range(0, last_target - length + 1, stride)
    yield from (Window(start, length, length) for start in starts)
    if starts[-1] + length < last_target:
        yield Window(last_target - length, length, length)
