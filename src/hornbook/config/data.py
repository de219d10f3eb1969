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


class TokensSource(Table):
    """An existing flat file of token ids, indexed where it lies without copying."""

    kind: Literal["tokens"] = "tokens"
    paths: tuple[InputPath, ...] = Field(min_length=1)
    dtype: Literal["uint16", "uint32", "int32"] | None = None
    """Of a raw file; an .npy file says its own."""
    end_of_text_id: NonNegativeInt | None = None
    """Documents end after this id. Unset: each file is one document."""


Source = Annotated[
    TextSource | JsonlSource | ParquetSource | HubSource | EmbeddedSource | SyntheticSource | TokensSource,
    Field(discriminator="kind"),
]


class DataConfig(Table):
    """Sources, preparation and reading order."""

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
        return self
