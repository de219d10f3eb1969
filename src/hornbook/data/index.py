"""`index.json`: what a prepared data set holds. It is written last, so its presence means that the data set is whole.

DIR/index.json           format number, tokenizer, counts and digests of every file, how it was made
DIR/train-00000.bin      raw little-endian token ids, uint16 or uint32 as the vocabulary needs
DIR/train-offsets.bin    uint64: where each document starts, counted in tokens of its split
DIR/train-loss-mask.bin  of tuning data: one bit a token, set where it counts
DIR/tokenizer/           a copy of the tokenizer: the directory alone is enough to read the text back
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from hornbook.config.data import Stage
from hornbook.errors import DataError
from hornbook.storage.atomic import replace_file

FORMAT = 1
INDEX_FILE = "index.json"
TOKENIZER_DIRECTORY = "tokenizer"

SplitName = Literal["train", "valid", "test"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardFile:
    """A run of tokens in a file; of a file that is indexed where it lies, the path is absolute."""

    file: str
    first_byte: int
    tokens: int
    sha256: str
    """Of the run's bytes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitIndex:
    """One split: its counts and its files."""

    dtype: str
    """A NumPy name: uint16, uint32, int32 or int64; always little-endian."""
    tokens: int
    documents: int
    text_bytes: int
    """UTF-8 bytes of the text that the tokens stand for, without special tokens: the denominator of bits per byte."""
    offsets_sha256: str
    shards: tuple[ShardFile, ...]
    trained_tokens: int | None = None
    """Of tuning data: tokens that count as targets."""
    loss_mask_sha256: str | None = None
    """Of tuning data: of the file of their bits."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Skipped:
    """Bad input that was left out for one reason."""

    count: int
    first: str
    """What was said of the first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetIndex:
    """The whole of index.json."""

    tokenizer_fingerprint: str
    vocab_size: int
    end_of_text_id: int | None
    """The token that ends each document, or None if documents are not marked."""
    splits: Mapping[SplitName, SplitIndex]
    skipped: Mapping[str, Skipped]
    """Bad input left out, by reason."""
    made_from: Mapping[str, object]
    """Everything that decides the content: sources, split, limits, tokenizer, input files."""
    stage: Stage = "pretrain"
    """sft: a document is a conversation. dpo: documents 2i and 2i + 1 are pair i, the chosen one first."""
    notes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Counts of what was done to rows that were kept, such as turns that were left out."""


def offsets_file(split: SplitName) -> str:
    """Name of the file of document starts."""
    return f"{split}-offsets.bin"


def shard_file(split: SplitName, number: int) -> str:
    """Name of the shard `number`."""
    return f"{split}-{number:05d}.bin"


def loss_mask_file(split: SplitName) -> str:
    """Name of the file that says which tokens of tuning data count: a bit a token, the first in the highest bit."""
    return f"{split}-loss-mask.bin"


def check_size(path: Path, needed: int, *, exact: bool = True) -> None:
    """Refuse a file of a data set that is absent or not as long as the index says.

    Raises:
        DataError: naming the file and both sizes.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; prepare the data again: hornbook data prepare CONFIG") from None
    if size < needed or (exact and size != needed):
        raise DataError(f"{path}: {size} bytes, but the index says {needed}: damaged; prepare again with --force")


def write_index(directory: Path, index: DatasetIndex) -> None:
    """Write index.json: from now on the directory is a data set."""
    content = {"format": FORMAT, **dataclasses.asdict(index)}
    replace_file(directory / INDEX_FILE, json.dumps(content, indent=1) + "\n")


def read_index(directory: Path) -> DatasetIndex:
    """Read index.json.

    Raises:
        DataError: if there is none, it is not readable, or its format is of a later version.
    """
    path = directory / INDEX_FILE
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{directory}: {_absence(directory)}; make one with: hornbook data prepare CONFIG") from None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: not readable ({error}); make it again: hornbook data prepare CONFIG --force"
        ) from None
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise DataError(f"{path}: format {found!r}, but this version of hornbook reads format {FORMAT}")
    try:
        return _index(content)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: damaged ({error!r}); make it again: hornbook data prepare CONFIG --force") from None


def _absence(directory: Path) -> str:
    if not directory.exists():
        return "no such directory"
    if not directory.is_dir():
        return "a file, but a data set is a directory"
    return f"no {INDEX_FILE} here, so it is not a complete data set"


def _index(content: dict[str, Any]) -> DatasetIndex:
    given = [field.name for field in dataclasses.fields(DatasetIndex) if field.name in content or _is_needed(field)]
    fields = {name: content[name] for name in given}
    fields["splits"] = {name: _split_index(split) for name, split in content["splits"].items()}
    fields["skipped"] = {reason: Skipped(**skipped) for reason, skipped in content["skipped"].items()}
    return DatasetIndex(**fields)


def _is_needed(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _split_index(content: dict[str, Any]) -> SplitIndex:
    return SplitIndex(**{**content, "shards": tuple(ShardFile(**shard) for shard in content["shards"])})
