"""The text of one row with the scores of its tokens, each told when its text is."""

from collections.abc import Sequence

from hornbook.generation.decoder import FinishReason
from hornbook.generation.text import RowText
from hornbook.serving.jobs import Delta, TokenScore
from hornbook.tokenizer.tokenizer import Tokenizer


class ScoredRow:
    """Turns the tokens of row `number`, whose prompt is `after`, into deltas, whose texts join to what `generate_text`
    returns."""

    def __init__(
        self,
        number: int,
        tokenizer: Tokenizer,
        stops: Sequence[str],
        stop_ids: frozenset[int],
        after: Sequence[int],
    ) -> None:
        self.number = number
        self._text = RowText(tokenizer, stops, after=after)
        # Without the stop strings, so that it is known where in the text each token begins.
        self._characters = tokenizer.stream_decoder(skip_special=True, after=after)
        self._stop_ids = stop_ids
        self._drawn = 0
        self._released = 0
        self._waiting: list[TokenScore] = []

    @property
    def is_over(self) -> bool:
        """Whether the text is at its end."""
        return self._text.reason is not None

    def push(
        self, token: int, logprob: float, top: tuple[tuple[int, float], ...], reason: FinishReason | None
    ) -> Delta:
        """One more token, with the decoder's reason if it is the last."""
        text = self._text.take(token, logprob)
        if not (reason == "stop" and token in self._stop_ids):
            self._waiting.append(TokenScore(token, logprob, top, self._drawn))
        self._drawn += len(self._characters.push(token))
        if reason is not None:
            text += self._text.end(reason)
        self._released += len(text)
        return Delta(
            row=self.number,
            text=text,
            scores=self._settled(),
            n_tokens=len(self._text.tokens),
            reason=self._text.reason,
        )

    def _settled(self) -> tuple[TokenScore, ...]:
        """The waiting tokens of whose text some is shown, or before which all is."""
        ended = self._text.reason == "length"
        count = 0
        for score in self._waiting:
            if not (score.start < self._released or (score.start == self._released == self._drawn) or ended):
                break
            count += 1
        told, self._waiting = tuple(self._waiting[:count]), self._waiting[count:]
        return told
