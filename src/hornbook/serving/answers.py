"""Events as OpenAI's objects: whole answers, and the chunks of a stream, of conversations and of plain texts."""

import math
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hornbook.serving.jobs import Delta, Denoised, TokenScore
from hornbook.tokenizer.tokenizer import Tokenizer

LEAST_LOGPROB = -9999.0
"""JSON has no infinity; what OpenAI writes for it."""

Object = dict[str, object]


@dataclass
class Choice:
    """What has come of one row."""

    text: str = ""
    scores: list[TokenScore] = field(default_factory=list)
    n_tokens: int = 0
    reason: str | None = None

    def take(self, delta: Delta) -> None:
        """Go on by a delta."""
        self.text += delta.text
        self.scores.extend(delta.scores)
        self.n_tokens = delta.n_tokens
        self.reason = delta.reason


class Form(Protocol):
    """One of the two ways in which answers are written."""

    def opening(self, row: int) -> Object | None:
        """The choice of a chunk before a row's first text."""
        ...

    def piece(self, delta: Delta) -> Object:
        """The choice of a chunk."""
        ...

    def whole(self, row: int, choice: Choice) -> Object:
        """The choice of a whole answer."""
        ...


class Answer:
    """The objects of one answer share an id, a time and a model."""

    def __init__(self, model: str, *, prompt_tokens: int, rows: int, form: "ChatForm | TextForm") -> None:
        self.choices = [Choice() for _ in range(rows)]
        self._form = form
        self._prompt_tokens = prompt_tokens
        self._fields: Object = {
            "id": f"{form.prefix}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
        }

    @property
    def n_tokens(self) -> int:
        """Drawn in all rows."""
        return sum(choice.n_tokens for choice in self.choices)

    def take(self, delta: Delta) -> None:
        """Go on by a delta."""
        self.choices[delta.row].take(delta)

    def openings(self) -> list[Object]:
        """Chunks before any text."""
        first = [self._form.opening(row) for row in range(len(self.choices))]
        return [self._chunk([each]) for each in first if each is not None]

    def chunk(self, delta: Delta) -> Object | None:
        """The chunk of a delta; None where it has nothing to say."""
        if not (delta.text or delta.reason or (delta.scores and self._form.with_scores)):
            return None
        return self._chunk([self._form.piece(delta)])

    def denoised(self, event: Denoised, tokenizer: Tokenizer) -> Object:
        """The chunk of a denoising step, without a choice."""
        tokens = [
            {"text": None, "confidence": None}
            if each is None
            else {"text": tokenizer.decode([each[0]], skip_special=True), "confidence": _finite(each[1])}
            for each in event.tokens
        ]
        step = {"index": event.row, "block": event.block, "step": event.step, "tokens": tokens}
        return {**self._chunk([]), "hornbook": {"denoise": step}}

    def usage_chunk(self) -> Object:
        """The last chunk, where usage is asked for."""
        return {**self._chunk([]), "usage": self._usage()}

    def whole(self) -> Object:
        """The whole answer."""
        choices = [self._form.whole(row, choice) for row, choice in enumerate(self.choices)]
        return {**self._fields, "object": self._form.kind, "choices": choices, "usage": self._usage()}

    def _chunk(self, choices: Sequence[Object]) -> Object:
        return {**self._fields, "object": self._form.chunk_kind, "choices": list(choices)}

    def _usage(self) -> Object:
        drawn = self.n_tokens
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": drawn,
            "total_tokens": self._prompt_tokens + drawn,
        }


class ChatForm:
    """Of /v1/chat/completions."""

    prefix, kind, chunk_kind = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, tokenizer: Tokenizer, *, with_scores: bool) -> None:
        self._tokenizer = tokenizer
        self._special = frozenset(tokenizer.special_tokens.values())
        self.with_scores = with_scores

    def opening(self, row: int) -> Object | None:
        """Who speaks."""
        return {
            "index": row,
            "delta": {"role": "assistant", "content": "", "refusal": None},
            "logprobs": None,
            "finish_reason": None,
        }

    def piece(self, delta: Delta) -> Object:
        """A piece of the message."""
        return {
            "index": delta.row,
            "delta": {"content": delta.text} if delta.text or delta.scores else {},
            "logprobs": self._scores(delta.scores) if delta.scores else None,
            "finish_reason": delta.reason,
        }

    def whole(self, row: int, choice: Choice) -> Object:
        """The message."""
        return {
            "index": row,
            "message": {"role": "assistant", "content": choice.text, "refusal": None},
            "logprobs": self._scores(choice.scores),
            "finish_reason": choice.reason,
        }

    def _scores(self, scores: Sequence[TokenScore]) -> Object | None:
        if not self.with_scores:
            return None
        content = [
            {**self._token(each.token, each.logprob), "top_logprobs": [self._token(*other) for other in each.top]}
            for each in scores
        ]
        return {"content": content, "refusal": None}

    def _token(self, token: int, logprob: float) -> Object:
        data = self._tokenizer.token_bytes(token)
        shown = b"" if token in self._special else data  # as in the text
        return {"token": data.decode("utf-8", "replace"), "logprob": _finite(logprob), "bytes": list(shown)}


class TextForm:
    """Of /v1/completions."""

    prefix, kind, chunk_kind = "cmpl", "text_completion", "text_completion"

    def __init__(self, tokenizer: Tokenizer, *, with_scores: bool) -> None:
        self._tokenizer = tokenizer
        self._special = frozenset(tokenizer.special_tokens.values())
        self.with_scores = with_scores

    def opening(self, row: int) -> Object | None:
        """Nothing."""
        return None

    def piece(self, delta: Delta) -> Object:
        """A piece of the text."""
        return self._choice(delta.row, delta.text, delta.scores, delta.reason)

    def whole(self, row: int, choice: Choice) -> Object:
        """The text."""
        return self._choice(row, choice.text, choice.scores, choice.reason)

    def _choice(self, row: int, text: str, scores: Sequence[TokenScore], reason: str | None) -> Object:
        return {"index": row, "text": text, "logprobs": self._scores(scores), "finish_reason": reason}

    def _scores(self, scores: Sequence[TokenScore]) -> Object | None:
        if not self.with_scores:
            return None
        return {
            "tokens": [self._name(each.token) for each in scores],
            "token_logprobs": [_finite(each.logprob) for each in scores],
            "top_logprobs": [{self._name(i): _finite(logprob) for i, logprob in each.top} for each in scores],
            "text_offset": [each.start for each in scores],
            "bytes": [[] if i in self._special else list(self._tokenizer.token_bytes(i)) for i, *_ in scores],
        }

    def _name(self, token: int) -> str:
        """The token's text; of one that is part of a character, its bytes, as OpenAI writes them."""
        data = self._tokenizer.token_bytes(token)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def _finite(number: float) -> float:
    return number if math.isfinite(number) else LEAST_LOGPROB
