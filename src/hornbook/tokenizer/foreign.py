"""Vocabularies that are not byte-level pairs, such as SentencePiece's, encoded by the library `tokenizers`.

Encoding is the library's. Decoding is ours, by the bytes of each id, so that streams and batches work as for any other
vocabulary: "▁" is a blank, "<0x0A>" the byte 10 where the vocabulary falls back to bytes, and the blank that was put
before a text is taken away at its start. Where bytes join to no UTF-8, each broken part becomes one U+FFFD; the library
gives one for each byte. Special and added tokens are found by `SpecialTokens`, as everywhere else.
"""

import copy
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hornbook.errors import MissingExtraError, TokenizerError
from hornbook.tokenizer import hugging_face
from hornbook.tokenizer.alphabet import from_printable
from hornbook.tokenizer.special_tokens import SpecialTokens
from hornbook.tokenizer.vocabulary import parse_object

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Library

BLANK = "\u2581"
"""What SentencePiece writes for a blank."""

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class ForeignScheme:
    """The ordinary tokens of a tokenizer.json that the library `tokenizers` encodes.

    Args:
        definition: the text of the file.
        where: how errors name it.

    Raises:
        TokenizerError: if it is damaged, draws lots, or joins tokens in a way that goes beyond bytes.
        MissingExtraError: if the library is not installed.
    """

    kind: ClassVar[Literal["foreign"]] = "foreign"
    cut: ClassVar[None] = None
    """A document is encoded in one piece: a blank is put before it."""

    def __init__(self, definition: str, where: str) -> None:
        whole = parse_object(definition, where)
        model = whole.get("model")
        if not isinstance(model, dict) or model.get("type", "BPE") not in ("BPE", "Unigram"):
            kind = model.get("type") if isinstance(model, dict) else model
            raise TokenizerError(f"{where}: unsupported model {kind!r:.60}; hornbook reads BPE and Unigram")
        if model.get("dropout"):
            raise TokenizerError(f"{where}: unsupported model.dropout = {model['dropout']!r}; ids must not be drawn")
        self.definition = (
            json.dumps({**whole, "truncation": None, "padding": None}, ensure_ascii=False, indent=1) + "\n"
        )
        self._library = _library(self.definition, where)
        self._later = _library(json.dumps(_without_prefix(whole)), where)
        vocabulary = self._library.get_vocab(with_added_tokens=False)
        self.special = hugging_face.special_tokens(whole, vocabulary, None, where)
        taken = set(self.special.all_ids.values())
        bytes_of, self.drops_first_blank = _bytes_of(whole.get("decoder"), where)
        tokens: list[bytes | None] = [None] * (max(vocabulary.values(), default=-1) + 1)
        for name, i in vocabulary.items():
            tokens[i] = None if i in taken else bytes_of(name)
        while tokens and tokens[-1] is None:
            tokens.pop()
        self.tokens = tuple(tokens)
        # An unknown character's id may come of any text; other special ones only where they are asked for.
        unknown = model.get("unk_id") if model.get("type") == "Unigram" else vocabulary.get(str(model.get("unk_token")))
        never = {name: i for name, i in self.special.ids.items() if i != unknown}
        self._never = frozenset(never.values())
        self._inside_names = (
            re.compile("|".join(f"(?<={re.escape(n[0])})(?={re.escape(n[1:])})" for n in never)) if never else None
        )

    def __reduce__(self) -> tuple[object, ...]:
        return ForeignScheme, (self.definition, "tokenizer.json")

    def normalize(self, text: str) -> str:
        """The text itself: the library does what is to be done."""
        return text

    def encode(self, text: str, *, begins: bool = True) -> list[int]:
        """Ids of a text in which no special token counts; `begins` says that nothing stands before it.

        Raises:
            TokenizerError: for a lone surrogate.
        """
        try:
            ids = self._ids(text, begins=begins)
        except (TypeError, UnicodeEncodeError):
            raise TokenizerError(f"text: {text!r:.60} holds a lone surrogate; expected text") from None
        if self._inside_names is not None and not self._never.isdisjoint(ids):
            # The model knows a special token's name as one piece: each is cut in two, or any text could hold one.
            first, *later = self._inside_names.split(text)
            return [*self._ids(first, begins=begins), *(i for part in later for i in self._ids(part, begins=False))]
        return ids

    def with_special(self, special: SpecialTokens) -> str:
        """The text of a tokenizer.json with these special tokens, of which some may be new."""
        whole = json.loads(self.definition)
        whole["added_tokens"] = [hugging_face.written_name(name, i, special) for name, i in special.all_ids.items()]
        return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"

    def _ids(self, text: str, *, begins: bool) -> list[int]:
        ids: list[int] = (self._library if begins else self._later).encode(text, add_special_tokens=False).ids
        return ids


def _library(definition: str, where: str) -> "Library":
    try:
        from tokenizers import Tokenizer as Library
    except ImportError:
        raise MissingExtraError("a tokenizer that is not byte-level BPE", package="tokenizers", extra="hf") from None
    try:
        library = Library.from_str(definition)
    except Exception as error:  # the library's errors are of no family
        raise TokenizerError(f"{where}: the library tokenizers cannot read it: {error}") from error
    library.encode_special_tokens = True  # their names in a text are text
    return library


def _without_prefix(whole: Mapping[str, Any]) -> dict[str, Any]:
    """The same for text that goes on: a blank that only the first piece of a text gets is left out."""
    changed: dict[str, Any] = copy.deepcopy({**whole, "truncation": None, "padding": None})
    for part, inner in (("normalizer", "normalizers"), ("pre_tokenizer", "pretokenizers")):
        for step in hugging_face.parts(changed.get(part), part, inner, "tokenizer.json"):
            if step.get("type") == "Metaspace" and step.get("prepend_scheme") == "first":
                step["prepend_scheme"] = "never"
    return changed


def _bytes_of(decoder: object, where: str) -> tuple[Callable[[str], bytes], bool]:
    """What turns a token's name into bytes, and whether a text's first blank is taken away."""
    steps = list(hugging_face.parts(decoder, "decoder", "decoders", where))
    if [step.get("type") for step in steps] == ["ByteLevel"]:
        return lambda name: from_printable(name) or name.encode(), False
    falls_back = {"type": "ByteFallback"} in steps
    drops, replaced = False, list[tuple[str, str]]()
    for step in steps:
        match step:
            case {"type": "Replace", "pattern": {"String": str(old)}, "content": str(new)}:
                replaced.append((old, new))
            case {"type": "Metaspace", "replacement": str(old)}:
                replaced.append((old, " "))
                drops = step.get("prepend_scheme") != "never" and step.get("add_prefix_space") is not False
            case {"type": "ByteFallback" | "Fuse"}:
                continue
            case {"type": "Strip", "content": " ", "start": 0 | 1 as start, "stop": 0}:
                drops = start == 1
            case _:
                raise TokenizerError(
                    f"{where}: unsupported decoder {step.get('type')}; hornbook reads ByteLevel, or Replace, "
                    "Metaspace, ByteFallback, Fuse and Strip of one blank"
                )

    def bytes_of(name: str) -> bytes:
        if falls_back and (byte := _BYTE.fullmatch(name)):
            return bytes.fromhex(byte[1])
        for old, new in replaced:
            name = name.replace(old, new)
        return name.encode()

    return bytes_of, drops


def parse(text: str, where: str) -> tuple[ForeignScheme, SpecialTokens]:
    """The vocabulary and the special tokens of a tokenizer.json that is not byte-level BPE.

    Raises:
        TokenizerError, MissingExtraError: as ForeignScheme.
    """
    scheme = ForeignScheme(text, where)
    return scheme, scheme.special
