"""A question to a model as tokens: how likely is this continuation after this context?"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hornbook.errors import DataError
from hornbook.tokenizer.tokenizer import Tokenizer


class Likelihood(NamedTuple):
    """What a model says of a continuation."""

    log_probability: float
    """Of all its tokens, in nats; of a diffusion model at least that."""
    is_greedy: bool
    """Whether the model, left to itself, would name these very tokens."""


class Request(NamedTuple):
    """Ids to read and ids to score after them."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]

    @property
    def digest(self) -> bytes:
        """16 bytes that tell this request from all others."""
        ids = np.array([len(self.context), *self.context, *self.continuation], dtype="<i8")
        return hashlib.sha256(ids.tobytes()).digest()[:16]

    def fitted(self, room: int) -> "Request":
        """The request with as much of its context, from the right, as `room` tokens have place for.

        Raises:
            DataError: if there is no place for a token of context beside the continuation.
        """
        surplus = len(self.context) + len(self.continuation) - room
        if surplus <= 0:
            return self
        if surplus >= len(self.context):
            raise DataError(
                f"a text to score has {len(self.continuation)} tokens, and the model has room for {room - 1} after "
                "one of context: leave out what is that long, or take a model of larger context_length or vocabulary"
            )
        return Request(self.context[surplus:], self.continuation)


class RequestEncoder:
    """Texts to requests: every text begins with the token that began the documents of the training.

    It is what the tokenizer's own template puts before a text, such as <s>, or else the end-of-text token, which stands
    before every document in training. Blanks at the end of a context go to the continuation, and both are encoded
    together, so that no token is cut where they meet (as lm-eval does it).
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        ids = {**tokenizer.special_tokens, **tokenizer.added_tokens}
        end = tokenizer.end_of_text_id
        self.start: tuple[int, ...] = tuple(ids[name] for name in tokenizer.template.before)
        self.start = self.start or (() if end is None else (end,))
        self._last: tuple[str, int] = ("", 0)

    @property
    def how(self) -> str:
        """How texts begin, in words."""
        if not self.start:
            return "the first token of a text without context is read and not scored, for want of a token to begin with"
        names = {id_: name for name, id_ in {**self._tokenizer.special_tokens, **self._tokenizer.added_tokens}.items()}
        return f"every text begins with {''.join(names[id_] for id_ in self.start)}"

    def __call__(self, context: str, continuation: str) -> Request:
        """The request; where nothing can stand before the first token, that token is the context.

        Raises:
            TokenizerError: for a text that has no ids.
        """
        bare = context.rstrip()
        ids = self._tokenizer.encode(context + continuation)
        cut = self._length(bare)
        read, scored = (*self.start, *ids[:cut]), tuple(ids[cut:])
        return Request(read, scored) if read else Request(scored[:1], scored[1:])

    def after(self, prompt: str, text: str) -> Request:
        """The request for what was written after a prompt: blanks at the prompt's end are its own, and not scored.

        But for a blank that one token holds together with the beginning of `text`.

        Raises:
            TokenizerError: for a text that has no ids.
        """
        context, continuation = self(prompt, text)
        bare = prompt.rstrip()
        blanks = prompt[len(bare) :].encode()
        if blanks and not bare and self._tokenizer.drops_first_blank:
            blanks = b" " + blanks  # the tokenizer's own
        if blanks and not bare and not self.start and context:  # for want of a start the first token is read already
            blanks = blanks[len(self._tokenizer.token_bytes(context[0])) :]
        own = 0
        while blanks and own < len(continuation):
            piece = self._tokenizer.token_bytes(continuation[own])
            if not blanks.startswith(piece):
                break
            blanks, own = blanks[len(piece) :], own + 1
        return Request((*context, *continuation[:own]), continuation[own:])

    def _length(self, context: str) -> int:
        """Tokens of a context by itself; several questions in a row have the same one."""
        if context != self._last[0]:
            self._last = (context, len(self._tokenizer.encode(context)))
        return self._last[1]


def window_requests(start: Sequence[int], tokens: Sequence[int], room: int) -> list[Request]:
    """A whole text, each of its tokens scored once; the last window reaches back as far as it can.

    Each request has one token of context at least, and `room` tokens at most in all; without a start token the first
    token of the text is not scored.
    """
    ids = [*start, *tokens]
    requests = []
    scored = max(len(start), 1)
    while scored < len(ids):
        end = min(len(ids), scored + room - 1)
        first = max(0, end - room)
        requests.append(Request(tuple(ids[first:scored]), tuple(ids[scored:end])))
        scored = end
    return requests
