"""Text to ids and back: a vocabulary of ordinary tokens (byte pairs or characters) and special tokens behind them.

    ids:  0 ............. n_ordinary - 1 | n_ordinary ... vocab_size - 1
          bytes and merges, or characters | special tokens, in the order of their names

`Tokenizer.train` and `encode_batch` are where a faster implementation goes; `reference` says what it must give.
"""

import hashlib
import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Literal, SupportsIndex

import numpy as np
import numpy.typing as npt

from hornbook.config.tokenizer import END_OF_TEXT, MASK, PAD, TokenizerConfig
from hornbook.errors import TokenizerError
from hornbook.tokenizer import files, hugging_face
from hornbook.tokenizer.byte_pair import BytePairScheme
from hornbook.tokenizer.characters import CharacterScheme
from hornbook.tokenizer.documents import Documents, decode_utf8, encode_utf8, pieces
from hornbook.tokenizer.special_tokens import AllowedSpecial, SpecialTokens, split_at_names
from hornbook.tokenizer.stream_decoder import StreamDecoder
from hornbook.tokenizer.tiktoken_ranks import load_ranks
from hornbook.tokenizer.train import ProgressCallback, special_names, train_scheme

Errors = Literal["strict", "replace"]


class Tokenizer:
    """Encodes and decodes; immutable.

    Args:
        scheme: the ordinary tokens and how text becomes them.
        special_tokens: names in the order of their ids, or names with ids, which must follow the ordinary ones.

    Raises:
        TokenizerError: if a name is empty or repeated, or the ids have gaps.
    """

    def __init__(
        self, scheme: BytePairScheme | CharacterScheme, special_tokens: Sequence[str] | Mapping[str, int]
    ) -> None:
        n_ordinary = len(scheme.tokens)
        if not isinstance(special_tokens, Mapping):
            ids = {name: n_ordinary + i for i, name in enumerate(special_tokens)}
            if len(ids) != len(special_tokens):
                raise TokenizerError(
                    f"special tokens: a name of {list(special_tokens)} stands there twice; expected it once"
                )
            special_tokens = ids
        self.scheme = scheme
        self._special = SpecialTokens(special_tokens, first_id=n_ordinary)
        self._bytes: tuple[bytes, ...] = (*scheme.tokens, *(encode_utf8(name) for name in self._special.ids))

    @classmethod
    def train(
        cls,
        documents: Documents,
        config: TokenizerConfig | None = None,
        *,
        progress: ProgressCallback | None = None,
    ) -> "Tokenizer":
        """Learn a vocabulary from documents; only the distinct words are held in memory.

        Args:
            documents: texts, UTF-8 bytes or Paths of text files (one file is one document), or one Path.
            config: kind, size, pattern, tie order and special tokens; `path` is not used. Default: all defaults.
            progress: called after every few megabytes and every 64 merges.

        Raises:
            TokenizerError: if the size leaves no room for bytes and special tokens, or a text is not UTF-8.
        """
        config = config or TokenizerConfig()
        return cls(train_scheme(documents, config, progress), special_names(config))

    @classmethod
    def load(cls, path: Path | str) -> "Tokenizer":
        """Read a directory of ours, a Hugging Face tokenizer.json, or a directory with vocab.json and merges.txt.

        Raises:
            TokenizerError: if it is missing, damaged or needs something that we do not do; the message names the part.
        """
        loaded = files.load(Path(path))
        tokenizer = cls(loaded.scheme, loaded.special_tokens)
        if loaded.fingerprint not in (None, tokenizer.fingerprint):
            raise TokenizerError(
                f"{path}: fingerprint {tokenizer.fingerprint[:12]}, saved with {str(loaded.fingerprint)[:12]}: a file "
                "was changed or comes from another tokenizer; restore the directory or train the tokenizer again"
            )
        return tokenizer

    @classmethod
    def from_files(
        cls,
        vocab: Path | str,
        merges: Path | str,
        *,
        special_tokens: Sequence[str] = (),
        pattern: str = "gpt2",
    ) -> "Tokenizer":
        """Read a vocabulary in GPT-2's form: JSON of printable tokens with ids, and a text file of merges.

        Args:
            vocab: the JSON file.
            merges: one merge a line, best first; a first line `#version: ...` is skipped.
            special_tokens: names; those in the vocabulary keep their ids, others follow.
            pattern: how its training text was split.

        Raises:
            TokenizerError: if a file is missing or damaged, or the two do not belong together.
        """
        loaded = files.load_gpt2(Path(vocab), Path(merges), special_tokens, pattern=pattern)
        return cls(loaded.scheme, loaded.special_tokens)

    @classmethod
    def from_tiktoken(cls, path: Path | str, *, pattern: str, special_tokens: Sequence[str] = ()) -> "Tokenizer":
        """Read ranks in OpenAI's .tiktoken form; the special tokens, which it does not hold, follow without gaps.

        Raises:
            TokenizerError: if the file is missing or damaged.
        """
        return cls(load_ranks(Path(path), pattern=pattern), special_tokens)

    def save(self, directory: Path | str, *, overwrite: bool = False) -> None:
        """Write the tokenizer as a directory, whole or not at all; writing the same tokenizer again changes nothing.

        Raises:
            TokenizerError: if another tokenizer, or anything else, stands there and `overwrite` is false.
        """
        written = files.contents(self.scheme, self._special.ids, self.fingerprint)
        files.save(written, Path(directory), overwrite=overwrite)

    def to_hugging_face(self) -> str:
        """The text of a Hugging Face tokenizer.json that gives the same ids with its special tokens allowed.

        Raises:
            TokenizerError: for a character tokenizer, or a special token with the name of an ordinary one.
        """
        if not isinstance(self.scheme, BytePairScheme):
            raise TokenizerError("tokenizer.json holds byte-pair tokenizers only; this one is of kind 'characters'")
        return hugging_face.dump(self.scheme, self._special.ids)

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included."""
        return len(self._bytes)

    @property
    def special_tokens(self) -> dict[str, int]:
        """Name -> id, in the order of the ids."""
        return dict(self._special.ids)

    @property
    def end_of_text_id(self) -> int | None:
        """Id of <|endoftext|>; None if this tokenizer has none."""
        return self._special.ids.get(END_OF_TEXT)

    @property
    def pad_id(self) -> int | None:
        """Id of <|pad|>; None if this tokenizer has none."""
        return self._special.ids.get(PAD)

    @property
    def mask_id(self) -> int | None:
        """Id of <|mask|>; None if this tokenizer has none."""
        return self._special.ids.get(MASK)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides ids: equal fingerprints, equal ids for every text."""
        content: dict[str, object] = {
            "kind": self.scheme.kind,
            "tokens": [token.hex() for token in self.scheme.tokens],
            "special_tokens": list(self._special.ids),
        }
        if isinstance(self.scheme, BytePairScheme):
            content["merges"] = self.scheme.merges
            content["expression"] = self.scheme.splitter.expression
            content["whole_words_first"] = self.scheme.whole_words_first
            content["normalizer"] = self.scheme.normalizer
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def encode(self, text: str, *, allowed_special: AllowedSpecial = ()) -> list[int]:
        """Ids of a text; the name of a special token in it is ordinary text unless allowed.

        Raises:
            TokenizerError: for a lone surrogate, a character without an id, or an allowed name that is none of ours.
        """
        ids: list[int] = []
        for ordinary, name in split_at_names(text, self._special.allowed(allowed_special)):
            ids += self.scheme.encode(ordinary)
            if name is not None:
                ids.append(self._special.ids[name])
        return ids

    def encode_bytes(self, data: bytes, *, errors: Errors = "strict") -> list[int]:
        """Ids of UTF-8 text in which nothing is special; "replace" reads broken parts as U+FFFD.

        Raises:
            TokenizerError: for invalid UTF-8, with its byte offset, or as `encode` does.
        """
        return self.scheme.encode(decode_utf8(data, "text", errors=errors))

    def encode_batch(
        self, documents: Iterable[bytes], *, errors: Errors = "strict"
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """Ids of many documents in one row; nothing in them is special, and nothing is put between them.

        Returns:
            (ids, offsets): document i is ids[offsets[i] : offsets[i + 1]]; offsets has one entry more than there are
            documents.

        Raises:
            TokenizerError: as `encode_bytes`, naming the document's number.
        """
        ids, offsets = array("I"), [0]
        for i, document in enumerate(documents):
            offset = 0
            for piece in pieces(BytesIO(document), self.scheme.cut):
                text = decode_utf8(piece, f"document {i}", offset=offset, errors=errors)
                ids.extend(self.scheme.encode(text))
                offset += len(piece)
            offsets.append(len(ids))
        return np.array(ids, dtype=np.uint32), np.array(offsets, dtype=np.int64)

    def decode(self, ids: Iterable[SupportsIndex], *, skip_special: bool = False, errors: Errors = "replace") -> str:
        """Text of ids; bytes that are no UTF-8 become U+FFFD, or are an error with errors = "strict".

        Raises:
            TokenizerError: for an unknown id.
        """
        return decode_utf8(self._joined(ids, skip_special), "decoded text", errors=errors)

    def decode_bytes(self, ids: Iterable[SupportsIndex]) -> bytes:
        """Bytes of ids, exactly; a special token gives its name.

        Raises:
            TokenizerError: for an unknown id.
        """
        return self._joined(ids, False)

    def token_bytes(self, token_id: int) -> bytes:
        """Bytes of one id; a special token gives its name.

        Raises:
            TokenizerError: for an unknown id.
        """
        if not 0 <= token_id < len(self._bytes):
            raise TokenizerError(f"token id {token_id}: this tokenizer has the ids 0 to {len(self._bytes) - 1}")
        return self._bytes[token_id]

    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """Bytes of text that each id stands for, of shape (vocab_size,); 0 for special tokens."""
        lengths = np.zeros(self.vocab_size, dtype=np.int64)
        lengths[: len(self.scheme.tokens)] = [len(token) for token in self.scheme.tokens]
        return lengths

    def stream_decoder(self, *, skip_special: bool = False) -> StreamDecoder:
        """A decoder for text that is shown while it is generated."""
        return StreamDecoder(self._ordinary_bytes if skip_special else self.token_bytes)

    def _ordinary_bytes(self, token_id: int) -> bytes:
        token = self.token_bytes(token_id)
        return token if token_id < len(self.scheme.tokens) else b""

    def _joined(self, ids: Iterable[SupportsIndex], skip_special: bool) -> bytes:
        token_bytes = self._ordinary_bytes if skip_special else self.token_bytes
        return b"".join([token_bytes(int(i)) for i in ids])
