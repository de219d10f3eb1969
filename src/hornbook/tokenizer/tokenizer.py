"""Text to ids and back: a vocabulary of ordinary tokens (byte pairs or characters) and special tokens.

    trained here:     0 ............. n_ordinary - 1 | n_ordinary ... vocab_size - 1
                      bytes and merges, or characters | special tokens, in the order of their names
    read from files:  any id is an ordinary token, a special or added one, or nobody's; vocab_size is the highest + 1

`TextEncoder` and `IdDecoder` do the work, compiled where that pays.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from hornbook.config.chat import ChatTemplate
from hornbook.config.tokenizer import END_OF_TEXT, MASK, PAD, TokenizerConfig
from hornbook.errors import TokenizerError
from hornbook.tokenizer import chat_template as chat_templates
from hornbook.tokenizer import files, hugging_face
from hornbook.tokenizer.batch import Errors, check_errors
from hornbook.tokenizer.byte_pair import BytePairScheme
from hornbook.tokenizer.documents import Documents, decode_utf8, encode_utf8
from hornbook.tokenizer.encode_file import FileCounts, FileProgress
from hornbook.tokenizer.foreign import ForeignScheme
from hornbook.tokenizer.id_decoder import IdDecoder
from hornbook.tokenizer.schemes import Scheme
from hornbook.tokenizer.special_tokens import AllowedSpecial, SpecialTokens, Template, follows
from hornbook.tokenizer.stream_decoder import StreamDecoder
from hornbook.tokenizer.text_encoder import TextEncoder
from hornbook.tokenizer.tiktoken_ranks import dump_ranks, known_encoding, load_ranks
from hornbook.tokenizer.train import ProgressCallback, special_names, train_scheme

_END_OF_TEXT = (END_OF_TEXT, "<|end_of_text|>", "</s>", "[EOS]")
_PAD = (PAD, "[PAD]")
_MASK = (MASK, "<|mdm_mask|>", "[MASK]")


class Tokenizer:
    """Encodes and decodes; immutable.

    Args:
        scheme: the ordinary tokens and how text becomes them.
        special_tokens: names, whose ids follow the ordinary ones, or names with ids, or all that there is to say.
        chat_template: how conversations become ids, see `hornbook.tokenizer.chat`.

    Raises:
        TokenizerError: if a name is empty or repeated, an id is taken, or a control token of the template has none.
    """

    def __init__(
        self,
        scheme: Scheme,
        special_tokens: Sequence[str] | Mapping[str, int] | SpecialTokens,
        *,
        chat_template: ChatTemplate | None = None,
    ) -> None:
        if isinstance(special_tokens, str):
            raise TokenizerError(
                f"special tokens: got {special_tokens!r}; expected a list of names, [{special_tokens!r}]"
            )
        if not isinstance(special_tokens, SpecialTokens | Mapping):
            n_ordinary = len(scheme.tokens)
            ids = {name: n_ordinary + i for i, name in enumerate(special_tokens)}
            if len(ids) != len(special_tokens):
                raise TokenizerError(
                    f"special tokens: a name of {list(special_tokens)} stands there twice; expected it once"
                )
            special_tokens = ids
        if not isinstance(special_tokens, SpecialTokens):
            special_tokens = SpecialTokens(special_tokens)
        if chat_template is not None:
            chat_templates.check_control_tokens(special_tokens, chat_template)
        self.scheme = scheme
        self.chat_template = chat_template
        self._special = special_tokens
        self._bytes: tuple[bytes | None, ...] = self._bytes_by_id()
        self._encoder = TextEncoder(scheme, special_tokens, len(self._bytes))

    @classmethod
    def train(
        cls,
        documents: Documents,
        config: TokenizerConfig | None = None,
        *,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> "Tokenizer":
        """Learn a vocabulary from documents; only the distinct words are held in memory.

        Args:
            documents: texts, UTF-8 bytes or Paths of text files (one file is one document), or one Path.
            config: kind, size, pattern, tie order and special tokens; `path` is not used. Default: all defaults.
            threads: in place of config.threads; the vocabulary is the same for any number.
            progress: called after every few megabytes and every 64 merges or more.

        Raises:
            TokenizerError: if the size leaves no room for bytes and special tokens, or a text is not UTF-8.
        """
        config = config or TokenizerConfig()
        if threads is not None:
            config = config.model_copy(update={"threads": threads})
        return cls(train_scheme(documents, config, progress), special_names(config))

    @classmethod
    def load(cls, path: Path | str) -> "Tokenizer":
        """Read a directory of ours, a Hugging Face tokenizer.json, or a directory with vocab.json and merges.txt.

        Raises:
            TokenizerError: if it is missing, damaged or needs something that we do not do; the message names the part.
        """
        loaded = files.load(Path(path))
        tokenizer = cls(loaded.scheme, loaded.special, chat_template=loaded.chat_template)
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
        special_tokens: Sequence[str] | Mapping[str, int] = (),
        pattern: str = "gpt2",
    ) -> "Tokenizer":
        """Read a vocabulary in GPT-2's form: JSON of printable tokens with ids, and a text file of merges.

        Args:
            vocab: the JSON file.
            merges: one merge a line, best first; a first line `#version: ...` is skipped.
            special_tokens: names; those in the vocabulary keep their ids, others get those given here, or follow.
            pattern: how its training text was split.

        Raises:
            TokenizerError: if a file is missing or damaged, or the two do not belong together.
        """
        loaded = files.load_gpt2(Path(vocab), Path(merges), special_tokens, pattern=pattern)
        return cls(loaded.scheme, loaded.special)

    @classmethod
    def from_tiktoken(
        cls,
        path: Path | str,
        *,
        pattern: str | None = None,
        special_tokens: Sequence[str] | Mapping[str, int] = (),
    ) -> "Tokenizer":
        """Read ranks in OpenAI's .tiktoken form, which holds neither the pattern nor special tokens.

        Args:
            path: the file.
            pattern: how text is split. Default: pattern and special tokens that OpenAI gives to the encoding with the
                file's name, such as cl100k_base.
            special_tokens: names with ids, or names that follow all others.

        Raises:
            TokenizerError: if the file is missing or damaged, or of unknown name without a pattern.
        """
        path = Path(path)
        if pattern is None:
            pattern, official = known_encoding(path)
            special_tokens = special_tokens or official
        given = special_tokens.values() if isinstance(special_tokens, Mapping) else ()
        return cls(load_ranks(path, pattern=pattern, special_ids=given), special_tokens)

    def with_chat_template(self, template: ChatTemplate) -> "Tokenizer":
        """The same ids, with this template and, behind all others, those of its control tokens that are missing.

        Raises:
            TokenizerError: if a control token is an added token, which any text gives.
        """
        special = chat_templates.grown(self._special, template, self.vocab_size)
        return Tokenizer(self.scheme, special, chat_template=template)

    def save(self, directory: Path | str, *, overwrite: bool = False) -> None:
        """Write the tokenizer as a directory, whole or not at all; writing the same tokenizer again changes nothing.

        Raises:
            TokenizerError: if another tokenizer, or anything else, stands there and `overwrite` is false.
        """
        written = files.contents(self.scheme, self._special, self.fingerprint)
        if self.chat_template is not None:
            written[chat_templates.CHAT_TEMPLATE] = chat_templates.file_text(self.chat_template)
        files.save(written, Path(directory), overwrite=overwrite)

    def to_hugging_face(self) -> str:
        """The text of a Hugging Face tokenizer.json that gives the same ids with its special tokens allowed.

        Raises:
            TokenizerError: for a character tokenizer, or a special token with the name of an ordinary one.
        """
        if isinstance(self.scheme, ForeignScheme):
            return self.scheme.with_special(self._special)
        return hugging_face.dump(self._byte_pairs("tokenizer.json"), self._special)

    def to_tiktoken(self) -> str:
        """The text of a .tiktoken file; it holds neither the pattern nor the special tokens.

        Raises:
            TokenizerError: for a vocabulary that is not given by the ranks of its tokens alone.
        """
        return dump_ranks(self._byte_pairs(".tiktoken"))

    def to_gpt2(self) -> dict[str, str]:
        """GPT-2's files, name -> text: vocab.json, merges.txt, added_tokens.json; they do not hold the pattern.

        Raises:
            TokenizerError: for a vocabulary that is not given by its merges alone, or a special token with the name of
                an ordinary one.
        """
        return files.gpt2_files(self._byte_pairs("vocab.json with merges.txt"), self._special)

    @property
    def vocab_size(self) -> int:
        """The highest id + 1, which is the number of ids unless some are nobody's: rows that a model needs."""
        return len(self._bytes)

    @property
    def special_tokens(self) -> dict[str, int]:
        """Name -> id, in the order of the ids."""
        return dict(self._special.ids)

    @property
    def added_tokens(self) -> dict[str, int]:
        """Name -> id of the tokens that count in any text; only vocabularies of others have some."""
        return dict(self._special.added)

    @property
    def template(self) -> Template:
        """What `encode` puts around a text with template = True; only vocabularies of others have something."""
        return self._special.template

    @property
    def end_of_text_id(self) -> int | None:
        """Id of <|endoftext|>, or <|end_of_text|>, </s> or [EOS] as others call it; None if this tokenizer has none."""
        return self._first_of(_END_OF_TEXT)

    @property
    def pad_id(self) -> int | None:
        """Id of <|pad|>, or [PAD] as others call it; None if this tokenizer has none."""
        return self._first_of(_PAD)

    @property
    def mask_id(self) -> int | None:
        """Id of <|mask|>, or <|mdm_mask|> or [MASK] as others call it; None if this tokenizer has none."""
        return self._first_of(_MASK)

    @property
    def unused_ids(self) -> list[int]:
        """Ids below vocab_size that are nobody's."""
        return [i for i, token in enumerate(self._bytes) if token is None]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides ids: equal fingerprints, equal ids for every text."""
        scheme, special = self.scheme, self._special
        first = len(scheme.tokens)
        content: dict[str, object] = {
            "kind": scheme.kind,
            "tokens": [token if token is None else token.hex() for token in scheme.tokens],
            "special_tokens": list(special.ids) if follows(special.ids, first) else special.ids,
        }
        if isinstance(scheme, BytePairScheme):
            content["merges"] = scheme.merges
            content["expression"] = scheme.splitter.expression
            content["whole_words_first"] = scheme.whole_words_first
            content["normalizer"] = scheme.normalizer
            if scheme.by_rank:
                content["by_rank"] = True
        if isinstance(scheme, ForeignScheme):
            content["definition"] = scheme.definition
        if not special.is_plain:
            content["added_tokens"] = [special.added, sorted(special.normalized), special.template, special.flags]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def encode(self, text: str, *, allowed_special: AllowedSpecial = (), template: bool = False) -> list[int]:
        """Ids of a text; the name of a special token in it is ordinary text unless allowed.

        Args:
            text: any text.
            allowed_special: names of special tokens that count in this text, or "all".
            template: put the tokens of `template` around it, as a model that was trained with them expects.

        Raises:
            TokenizerError: for a lone surrogate, a character without an id, or an allowed name that is none of ours.
        """
        ids = self._encoder.ids(text, self._special.allowed(allowed_special))
        if template:
            before, after = ([self._special.all_ids[name] for name in names] for names in self.template)
            ids = [*before, *ids, *after]
        return ids

    def encode_bytes(self, data: bytes, *, errors: Errors = "strict") -> list[int]:
        """Ids of UTF-8 text in which no special token counts; "replace" reads broken parts as U+FFFD.

        Raises:
            TokenizerError: for invalid UTF-8, with its byte offset, or as `encode` does.
        """
        check_errors(errors)
        return self._encoder.ids(decode_utf8(data, "text", errors=errors), frozenset(self._special.added))

    def encode_batch(
        self,
        documents: Iterable[bytes],
        *,
        errors: Errors = "strict",
        threads: int = 1,
        end_id: int | None = None,
        dtype: npt.DTypeLike = np.uint32,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """Ids of many documents in one row; no special token counts in them.

        Args:
            documents: UTF-8.
            errors: "replace" reads broken parts as U+FFFD.
            threads: how many encode at the same time; compiled kernels only.
            end_id: an id to put after each document, such as `end_of_text_id`.
            dtype: of the ids: uint32, or uint16 if every id has room in it.

        Returns:
            (ids, offsets): document i is ids[offsets[i] : offsets[i + 1]], its end_id included; offsets has one entry
            more than there are documents.

        Raises:
            TokenizerError: as `encode_bytes`, naming the document's number; or if `dtype` is too small.
        """
        if end_id is not None:
            self.token_bytes(end_id)
        if isinstance(documents, (str, bytes)):  # type: ignore[unreachable]  # it can be called with anything
            raise TokenizerError("documents: got one text; expected a list of UTF-8 texts, [text]")
        return self._encoder.batch(list(documents), errors=errors, threads=threads, end_id=end_id, dtype=dtype)

    def encode_file(
        self,
        path: Path | str,
        out: Path | str,
        *,
        threads: int | None = None,
        allowed_special: AllowedSpecial = (),
        errors: Errors = "strict",
        dtype: npt.DTypeLike | None = None,
        shard_tokens: int | None = None,
        progress: FileProgress | None = None,
    ) -> FileCounts:
        """Encode a text file of any size to a flat file of ids, in bounded memory.

        Args:
            path: a file of UTF-8, which is one document.
            out: where the ids go, for `np.fromfile`; it appears there when it is complete and replaces what was there.
            threads: how many encode at the same time. Default: as many as there are cores, at most 8.
            allowed_special: names of special tokens that count in the text, or "all".
            errors: "replace" reads broken parts as U+FFFD.
            dtype: uint16 or uint32. Default: uint16 if every id has room in it.
            shard_tokens: write files of so many ids each, of which the last may have fewer: for "ids.bin"
                ids-00000.bin, ids-00001.bin, ...
            progress: called now and then with the bytes that are done and the bytes of the file.

        Raises:
            TokenizerError: for invalid UTF-8, with its byte offset in the file; for an unknown name; if there is no
                such file.
            StorageError: if the result cannot be written.
        """
        return self._encoder.file(
            Path(path),
            Path(out),
            self._special.allowed(allowed_special),
            threads=threads,
            errors=errors,
            dtype=dtype,
            shard_tokens=shard_tokens,
            progress=progress,
        )

    def decode(
        self, ids: Iterable[SupportsIndex] | npt.NDArray[Any], *, skip_special: bool = False, errors: Errors = "replace"
    ) -> str:
        """Text of ids; bytes that are no UTF-8 become U+FFFD, or are an error with errors = "strict".

        Raises:
            TokenizerError: for an unknown id.
        """
        return self._text(self._decoder(skip_special).joined(ids), errors)

    def decode_bytes(self, ids: Iterable[SupportsIndex] | npt.NDArray[Any]) -> bytes:
        """Bytes of ids, exactly; a special token gives its name.

        Raises:
            TokenizerError: for an unknown id.
        """
        return self._decoder(False).joined(ids)

    def decode_batch(
        self,
        ids: npt.NDArray[Any],
        offsets: npt.NDArray[Any],
        *,
        skip_special: bool = False,
        errors: Errors = "replace",
    ) -> list[str]:
        """Texts of rows of ids, as `encode_batch` gives them: row i is ids[offsets[i] : offsets[i + 1]].

        Raises:
            TokenizerError: for an unknown id; with errors = "strict" for bytes that are no UTF-8.
        """
        rows = self._decoder(skip_special).rows(ids, offsets)
        return [self._text(row, errors) for row in rows]

    def token_bytes(self, token_id: int) -> bytes:
        """Bytes of one id; a special token gives its name.

        Raises:
            TokenizerError: for an unknown id.
        """
        token = self._bytes[token_id] if 0 <= token_id < len(self._bytes) else None
        if token is None:
            but = "" if None not in self._bytes else ", not all of which are used"
            raise TokenizerError(f"token id {token_id}: this tokenizer has the ids 0 to {len(self._bytes) - 1}{but}")
        return token

    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """Bytes of text that each id stands for, of shape (vocab_size,); 0 for special tokens and ids of nobody."""
        lengths = np.array([len(token or b"") for token in self._bytes], dtype=np.int64)
        lengths[list(self._special.ids.values())] = 0
        return lengths

    def stream_decoder(self, *, skip_special: bool = False, after: Sequence[int] = ()) -> StreamDecoder:
        """A decoder for text that is shown while it is generated.

        after: ids that stand before, such as a prompt's; where these hold text, a blank that begins a token stays.
        """
        decoder = self._decoder(skip_special)
        silent = self._special.ids.values()
        drops_blank = self.drops_first_blank and all(i in silent for i in after)
        return StreamDecoder(decoder.token_bytes, decoder.whole_texts, drops_blank=drops_blank)

    @property
    def drops_first_blank(self) -> bool:
        """Whether a blank was put before every text, which is no part of it."""
        return isinstance(self.scheme, ForeignScheme) and self.scheme.drops_first_blank

    def _text(self, data: bytes, errors: Errors) -> str:
        if self.drops_first_blank:
            data = data.removeprefix(b" ")
        return decode_utf8(data, "decoded text", errors=errors)

    def _first_of(self, names: Iterable[str]) -> int | None:
        return next((self._special.ids[name] for name in names if name in self._special.ids), None)

    def _decoder(self, skip_special: bool) -> IdDecoder:
        return self._without_special if skip_special else self._with_special

    @cached_property
    def _with_special(self) -> IdDecoder:
        return IdDecoder(self._bytes, (), self.token_bytes)

    @cached_property
    def _without_special(self) -> IdDecoder:
        return IdDecoder(self._bytes, frozenset(self._special.ids.values()), self.token_bytes)

    def _byte_pairs(self, form: str) -> BytePairScheme:
        if not isinstance(self.scheme, BytePairScheme):
            raise TokenizerError(f"{form} holds byte-pair tokenizers only; this one is of kind {self.scheme.kind!r}")
        return self.scheme

    def _bytes_by_id(self) -> tuple[bytes | None, ...]:
        """The bytes of every id, of length vocab_size; None for ids of nobody."""
        tokens = list(self.scheme.tokens)
        for name, i in self._special.all_ids.items():
            tokens += [None] * (i + 1 - len(tokens))
            if tokens[i] is not None:
                raise TokenizerError(
                    f"special tokens: {name!r} has the id {i}, which is that of the ordinary token {tokens[i]!r}; "
                    "expected ids of their own"
                )
            tokens[i] = encode_utf8(name)
        return tuple(tokens)
