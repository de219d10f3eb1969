"""`[data]`: where text comes from, how it becomes shards, and how windows are read from them."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from hornbook.config.paths import InputPath
from hornbook.config.table import Table

OnError = Literal["stop", "skip"]


class TextSource(Table):
    """Text files, .gz and .zst included; a folder means every text file under it, in sorted order."""

    kind: Literal["text"] = "text"
    paths: tuple[InputPath, ...] = Field(min_length=1)
    document_separator: str = "file"
    """`file`, `line`, `blank_line`, or a literal string (such as <|endoftext|>), which is consumed."""


class JsonlSource(Table):
    """JSON-lines files, one document an object, .gz and .zst included; or folders of them."""

    kind: Literal["jsonl"] = "jsonl"
    paths: tuple[InputPath, ...] = Field(min_length=1)
    text_field: str = "text"


class ParquetSource(Table):
    """Parquet files, one document a row; or folders of them. Needs the extra `data`."""

    kind: Literal["parquet"] = "parquet"
    paths: tuple[InputPath, ...] = Field(min_length=1)
    text_field: str = "text"


class HubSource(Table):
    """A Hugging Face data set, streamed. Needs the extra `hf` and a network."""

    kind: Literal["hf"] = "hf"
    dataset: str
    """Such as roneneldan/TinyStories."""
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    text_field: str = "text"


class EmbeddedSource(Table):
    """Python's own documentation topics and standard-library docstrings, read as text: every machine has them."""

    kind: Literal["embedded"] = "embedded"


class SyntheticSource(Table):
    """A Markov chain of known entropy rate: text whose best possible loss is known."""

    kind: Literal["synthetic"] = "synthetic"
    order: Annotated[int, Field(ge=1, le=3)] = 2
    """How many symbols the next one depends on."""
    n_symbols: Annotated[int, Field(ge=2, le=90)] = 16
    n_documents: PositiveInt = 1000
    document_length: PositiveInt = 1000
    """Symbols a document."""
    concentration: Annotated[float, Field(gt=0.0)] = 0.3
    """Dirichlet concentration of each transition row: small is predictable, large is noisy."""
    seed: NonNegativeInt = 0


class TasksSource(Table):
    """Small tasks with one right answer, for tuning: every prompt is another string of letters or digits."""

    kind: Literal["tasks"] = "tasks"
    tasks: Annotated[tuple[Literal["reverse", "copy", "sort"], ...], Field(min_length=1)] = ("reverse",)
    """reverse or copy a word, or sort its digits."""
    min_length: PositiveInt = 6
    max_length: PositiveInt = 10
    """Characters of a word."""
    n_rows: PositiveInt = 20_000
    """Distinct prompts, all tasks together."""
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min_length > self.max_length:
            raise ValueError(f"min_length = {self.min_length} is more than max_length = {self.max_length}; swap them")
        if twice := [task for task in self.tasks if self.tasks.count(task) > 1]:
            raise ValueError(f'tasks names "{twice[0]}" twice; name it once')
        return self


class TokensSource(Table):
    """An existing flat file of token ids, indexed where it lies without copying."""

    kind: Literal["tokens"] = "tokens"
    paths: tuple[InputPath, ...] = Field(min_length=1)
    dtype: Literal["uint16", "uint32", "int32"] | None = None
    """Of a raw file; an .npy file says its own."""
    end_of_text_id: NonNegativeInt | None = None
    """Documents end after this id. Unset: each file is one document."""


Source = Annotated[
    TextSource
    | JsonlSource
    | ParquetSource
    | HubSource
    | EmbeddedSource
    | SyntheticSource
    | TasksSource
    | TokensSource,
    Field(discriminator="kind"),
]

Stage = Literal["pretrain", "sft", "dpo"]
"""What a data set is for: text, conversations with answers, or pairs of answers to the same prompt."""
OnRow = Literal["drop", "error"]
RecordField = Literal[
    "instruction",
    "input",
    "output",
    "system",
    "messages",
    "conversations",
    "prompt",
    "completion",
    "chosen",
    "rejected",
]
"""What tuning reads of a record."""


class TuningConfig(Table):
    """`[data.tuning]`: how records become conversations or pairs, and conversations rows."""

    format: Literal["auto", "alpaca", "messages", "prompt_completion", "sharegpt", "preference"] = "auto"
    """auto goes by the names of the fields of each record."""
    columns: dict[RecordField, str] = Field(default_factory=dict)
    """Our field -> the record's own name for it, such as {instruction = "question", output = "answer"}."""
    train_on: Literal["all", "last"] = "all"
    """The answers of a conversation that are trained: every one, or the last."""
    too_long: Literal["truncate", "drop", "error"] = "truncate"
    """Rows over model.context_length: leave out their oldest turns (never the system message, nor the last turn, nor
    part of one; a row that is still too long is dropped), drop them, or stop. What is dropped is counted."""
    nothing_to_train: OnRow = "drop"
    """Rows with an empty answer or no trained token, and pairs of equal answers: drop and count them, or stop."""
    untrained_stop: OnRow = "error"
    """Rows with an answer whose stop token would not be trained, so that no answer would end."""
    packing: bool = True
    """Several conversations in a row, each of which sees itself alone, at positions of its own; else one a row."""
    answer_padding: NonNegativeInt | Literal["row"] = 0
    """For masked diffusion: so many end-of-text tokens follow each conversation and are trained, so that answers of any
    length can be laid out; row: up to the end of the row, which packing does not allow."""


class DataConfig(Table):
    """Sources, preparation and reading order."""

    stage: Stage = "pretrain"
    """pretrain: text in windows; sft: conversations, whose answers are trained; dpo: pairs of answers to a prompt."""
    path: Path = Path("data/default")
    """Directory of the prepared data set."""
    source: Source = EmbeddedSource()
    valid: Source | None = None
    """Explicit validation documents; then nothing is held out of `source` for validation."""
    test: Source | None = None
    split: Literal["documents", "position"] = "documents"
    """`documents`: by a hash of each document. `position`: first part train, then validation, then test."""
    valid_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.05
    test_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    end_of_text: bool = True
    """Put the end-of-text token after every document."""
    max_documents: PositiveInt | None = None
    max_tokens: PositiveInt | None = None
    workers: PositiveInt | None = None
    """Threads that tokenise, beside the one that reads. Default: one a core, up to four."""
    shard_tokens: PositiveInt = 2**26
    """Tokens in one shard file."""
    on_error: OnError = "stop"
    """Bad input: stop with file and line, or skip and count."""
    stride: PositiveInt | None = None
    """Tokens from one window's start to the next. Default: context_length, so that windows do not overlap."""
    order: Literal["shuffled", "random", "sequential", "distributed"] = "shuffled"
    """In which order training reads windows, each once an epoch and alike at any number of processes. shuffled (or
    random): every epoch anew; sequential: as they lie; distributed: each row of a step reads a stretch of its own."""
    mixture: tuple[InputPath, ...] = ()
    """Directories of prepared data sets to train on together, instead of the one at `path`, which `data prepare` makes
    and `eval` reads. Each is prepared with a file of its own and the same tokenizer."""
    weights: tuple[PositiveFloat, ...] = ()
    """Of `mixture`: how much each gives, one number for each, in any unit. Every step has these proportions."""
    tuning: TuningConfig = TuningConfig()
    loader_threads: PositiveInt = 1
    prefetch: PositiveInt = 2
    """Steps that the loader reads ahead."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.valid_fraction + self.test_fraction >= 1.0:
            raise ValueError(
                f"valid_fraction + test_fraction = {self.valid_fraction + self.test_fraction:g}, expected less than 1, "
                "so that something is left to train on"
            )
        if len(self.weights) != len(self.mixture):
            raise ValueError(
                f"weights has {len(self.weights)} numbers for the {len(self.mixture)} data sets of mixture; give one "
                "for each"
            )
        if twice := [path for path in self.mixture if self.mixture.count(path) > 1]:
            raise ValueError(f"mixture names {twice[0]} twice; name it once, with the sum of the weights")
        if problem := self._without_effect():
            raise ValueError(problem)
        return self

    def _without_effect(self) -> str | None:
        """What a stage of tuning makes nothing of; see also hornbook.config.tuning."""
        if self.stage == "pretrain":
            return None
        stage = f'stage = "{self.stage}"'
        for source in (self.source, self.valid, self.test):
            if isinstance(source, JsonlSource | ParquetSource | HubSource) and source.text_field != "text":
                return (
                    f'text_field = "{source.text_field}" has no effect with {stage}, which reads several fields; name '
                    "them in tuning.columns"
                )
        if not self.end_of_text:
            return f"end_of_text = false has no effect with {stage}: a template ends its answers itself; leave it out"
        if self.stage == "sft":
            return None
        if self.tuning.format not in ("auto", "preference"):
            return f'tuning.format = "{self.tuning.format}" gives one answer, but {stage} needs two; use "preference"'
        if self.tuning.train_on != "all":
            return f'tuning.train_on = "{self.tuning.train_on}" has no effect with {stage}, which has one answer a row'
        return None
