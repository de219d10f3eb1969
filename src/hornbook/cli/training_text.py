"""The text that `hornbook tokenizer train` reads: where it comes from, and what is known of it before it is read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hornbook.config.data import HubSource, JsonlSource, ParquetSource, TextSource
from hornbook.data.files import COMPRESSED_SUFFIXES, TEXT_SUFFIXES, files_below
from hornbook.data.sources import SourceReport, input_state, open_blocks
from hornbook.errors import DataError
from hornbook.storage.digest import bytes_sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from hornbook.config.run import Config

SAMPLE_BYTES = 2**20
"""Text from the beginning of the source on which bytes per token are measured."""
# What does not change which words a text has, nor how often.
_AFTER_COUNTING = {"path", "vocab_size", "tie_order", "threads"}


class TrainingText:
    """The documents of [data.source]. Large plain files are streamed; whatever else there is comes as documents.

    Raises:
        DataError: if the source holds records of several texts.
    """

    def __init__(self, config: Config) -> None:
        if config.data.stage != "pretrain" and isinstance(config.data.source, JsonlSource | ParquetSource | HubSource):
            raise DataError(
                f'data.stage = "{config.data.stage}": a tokenizer is trained on text, not on records of conversations '
                "or pairs; name the configuration of the text that the model is pretrained on"
            )
        self.report = SourceReport()
        self.sample = bytearray()
        """The beginning of the text, once it has been read."""
        self._config = config
        self._state = input_state(config.data.source)

    @property
    def file_bytes(self) -> int | None:
        """Size of all input files, compressed ones as they are; None for a source that is no local file."""
        return sum(size for _, size, _ in self._state) if self._state else None

    @property
    def n_bytes(self) -> int | None:
        """How much text there is; None if only reading tells."""
        plain = isinstance(self._config.data.source, TextSource) and not self._is_compressed()
        return self.file_bytes if plain else None

    def digest(self) -> str | None:
        """Of all that decides which words are counted how often; None for a source that is no local file."""
        from importlib.metadata import version

        if not self._state:
            return None
        data = self._config.data
        decides = {
            "hornbook": version("hornbook"),
            "tokenizer": self._config.tokenizer.model_dump(mode="json", exclude=_AFTER_COUNTING),
            "source": data.source.model_dump(mode="json"),
            "on_error": data.on_error,
            "files": self._state,
        }
        return bytes_sha256(json.dumps(decides, sort_keys=True).encode())

    def documents(self) -> Iterable[bytes | Path]:
        """The documents, which can be read once.

        Raises:
            DataError: while they are read, as the source does.
        """
        return self._texts() if (paths := self._whole_files()) is None else self._paths(paths)

    def _texts(self) -> Iterator[bytes]:
        data = self._config.data
        for block in open_blocks(data.source, on_error=data.on_error, report=self.report):
            for text in block.texts:
                if len(self.sample) < SAMPLE_BYTES:
                    self.sample.extend(text[: SAMPLE_BYTES - len(self.sample)])
                yield text

    def _paths(self, paths: list[Path]) -> Iterator[Path]:
        for path in paths:
            if len(self.sample) < SAMPLE_BYTES:
                with path.open("rb") as file:
                    self.sample.extend(file.read(SAMPLE_BYTES - len(self.sample)))
            self.report.documents += 1
            yield path

    def _whole_files(self) -> list[Path] | None:
        """Files that are a document each and can be streamed; None where the source must see to something."""
        source, data = self._config.data.source, self._config.data
        if not isinstance(source, TextSource) or source.document_separator != "file" or data.on_error != "stop":
            return None
        found = [files_below([path], TEXT_SUFFIXES) for path in source.paths]
        if not all(found) or self._is_compressed() or not all(size for _, size, _ in self._state):
            return None
        return [path for files in found for path in files]

    def _is_compressed(self) -> bool:
        return any(path.endswith(COMPRESSED_SUFFIXES) for path, _, _ in self._state)
