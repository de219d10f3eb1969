"""A record as the ids of its row, or the reason why it gives none."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from hornbook.config.run import Config
from hornbook.data.conversations import Conversation, conversation_of
from hornbook.data.documents import Gate, SourceReport
from hornbook.data.messages import NothingToTrainError, RecordError, Setting
from hornbook.data.preferences import Pair, chosen_of, pair_of
from hornbook.data.records import Record
from hornbook.errors import DataError, TokenizerError
from hornbook.tokenizer.chat import Rendered, TooLongError, render, render_pair
from hornbook.tokenizer.tokenizer import Tokenizer

TOO_LONG = "too long"
"""Why a row was left out."""
LOST_TURNS = "rows that lost their oldest turns"
"""What is noted of rows that were kept."""
Answers = tuple[Rendered, ...]
"""A conversation, or the chosen and the rejected answer of a pair, each after the same prompt."""


@dataclass
class TuningReport(SourceReport):
    """What has been read so far: every record is a document."""

    notes: dict[str, int] = field(default_factory=dict)
    """Counts of what was done to rows that were kept."""

    def note(self, what: str, count: int = 1) -> None:
        """Count something."""
        self.notes[what] = self.notes.get(what, 0) + count


class Renderer:
    """Turns records into rows of at most `model.context_length` tokens."""

    def __init__(self, config: Config, tokenizer: Tokenizer, report: TuningReport) -> None:
        assert config.data.stage != "pretrain"
        assert tokenizer.chat_template is not None
        self.stage: Literal["sft", "dpo"] = config.data.stage
        self._tuning = tuning = config.data.tuning
        self._policies: dict[Setting, str] = {
            "too_long": tuning.too_long,
            "nothing_to_train": tuning.nothing_to_train,
            "untrained_stop": tuning.untrained_stop,
        }
        self._limit = config.model.context_length
        self._tokenizer, self._template = tokenizer, tokenizer.chat_template
        self._report = report

    def render(self, record: Record, gate: Gate) -> tuple[Answers, str] | None:
        """The ids of a record, and its prompt to split by; None if it is left out, which is counted.

        Raises:
            DataError: if it does not fit and that is to stop everything.
        """
        try:
            return self._rendered(record)
        except RecordError as error:
            message = f"{record.where}: {error}"
            if error.setting is None:
                gate.refuse(error.reason, message if ";" in str(error) else f"{message}; correct it")
            elif self._policies[error.setting] == "error":
                raise DataError(f'{message}; or leave out such rows: data.tuning.{error.setting} = "drop"') from None
            else:
                self._report.skip(error.reason, message)
        except TokenizerError as error:
            gate.refuse("cannot be encoded", f"{record.where}: {error}")
        return None

    def _rendered(self, record: Record) -> tuple[Answers, str]:
        if self.stage == "dpo":
            pair = pair_of(record.fields, self._tuning, self._template)
            answers, prompt = self._fitting(lambda most: self._pair(pair, most)), pair.prompt
        else:
            read = chosen_of if self._tuning.format == "preference" else conversation_of
            conversation = read(record.fields, self._tuning, self._template)
            answers = self._fitting(lambda most: self._conversation(conversation, most))
            prompt = conversation.prompt
        for one in answers:
            if one.has_untrained_stop:
                raise RecordError(
                    "untrained stop", "the stop token of an answer would not be trained", "untrained_stop"
                )
            if not any(one.trained):
                raise NothingToTrainError("nothing to train", "no token would be trained")
        return answers, prompt

    def _fitting(self, make: Callable[[int | None], Answers]) -> Answers:
        """The whole of a row, or what `too_long` leaves of it."""
        whole = make(None)
        longest = max(len(one.ids) for one in whole)
        if longest <= self._limit:
            return whole
        what = f"{longest} tokens, but model.context_length = {self._limit}"
        if self._policies["too_long"] != "truncate":
            raise RecordError(TOO_LONG, what, "too_long")
        try:
            cut = make(self._limit)
        except TooLongError:
            raise RecordError(TOO_LONG, f"{what}, and its last turn does not fit alone", "too_long") from None
        self._report.note(LOST_TURNS)
        self._report.note("turns left out", cut[0].dropped_turns)
        return cut

    def _pair(self, pair: Pair, most: int | None) -> Answers:
        return render_pair(self._tokenizer, pair.messages, pair.chosen, pair.rejected, max_tokens=most)

    def _conversation(self, conversation: Conversation, most: int | None) -> Answers:
        train_on = "last" if conversation.only_last else self._tuning.train_on
        return (render(self._tokenizer, conversation.messages, train_on=train_on, max_tokens=most),)
