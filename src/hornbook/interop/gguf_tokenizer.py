"""A tokenizer as the fields of a GGUF file, there and back.

    tokenizer.ggml.model        gpt2: byte pairs, printable as in vocab.json; llama: SentencePiece's pieces and scores
    tokenizer.ggml.pre          the splitting pattern, by llama.cpp's name for it
    tokenizer.ggml.tokens, token_type, merges, scores, ..._token_id, add_bos_token

llama.cpp takes control tokens out of a text only where it is asked to, as we do.
Source: https://github.com/ggml-org/llama.cpp (src/llama-vocab.cpp)
"""

import json
import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hornbook.config.chat import ChatTemplate
from hornbook.errors import TokenizerError
from hornbook.interop.chat_jinja import jinja_of, recognised
from hornbook.interop.sentence_pieces import SentencePieces, pieces_of
from hornbook.tokenizer.alphabet import printable
from hornbook.tokenizer.byte_pair import BytePairScheme, Normalizer
from hornbook.tokenizer.foreign import ForeignScheme
from hornbook.tokenizer.special_tokens import SpecialTokens, Template
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tokenizer.vocabulary import WrittenMerges, byte_pair_scheme, split_merges

PREFIX = "tokenizer.ggml."
JINJA = "tokenizer.chat_template"
CHAT_TEMPLATE = "hornbook.chat_template"
"""Our own template, as JSON: not all of it can be had back from a Jinja program."""
SPLITTING = "hornbook.splitting"
"""Our own pattern, whether whole words come first, and normal form, as JSON: one name of llama.cpp's means several."""

_WRITTEN = {
    **{"gpt2": "gpt-2", "cl100k": "llama-bpe", "o200k": "gpt-4o"},
    **{"llama3": "llama-bpe", "qwen2": "qwen2", "smollm": "smollm"},
}
_READ = {
    **{"gpt-2": "gpt2", "gpt2": "gpt2", "gpt-4o": "o200k", "smollm": "smollm"},
    **{"llama-bpe": "llama3", "llama3": "llama3", "llama-v3": "llama3"},
    **{"qwen2": "qwen2", "deepseek-r1-qwen": "qwen2"},
}
_WHOLE_WORDS_FIRST = ("llama-bpe", "llama3", "llama-v3")
"""Of these llama.cpp takes a word that is a token whole."""
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


class TokenType(IntEnum):
    """What llama.cpp tells apart."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    """Found in text only where that is asked for: a special token."""
    USER_DEFINED = 4
    """Found in any text: an added token."""
    UNUSED = 5
    BYTE = 6


def tokenizer_fields(tokenizer: Tokenizer, *, n_ids: int) -> tuple[dict[str, Any], list[str]]:
    """The fields of a tokenizer whose model has `n_ids` ids, and what a reader must be told besides.

    Raises:
        TokenizerError: for a tokenizer that llama.cpp would run to other ids.
    """
    if n_ids < tokenizer.vocab_size:
        raise TokenizerError(f"GGUF: the tokenizer has {tokenizer.vocab_size} ids, the model only {n_ids}")
    match tokenizer.scheme:
        case BytePairScheme() as scheme:
            fields, notes = _byte_pair_fields(tokenizer, scheme, n_ids)
        case ForeignScheme():
            fields, notes = _piece_fields(pieces_of(tokenizer), n_ids), []
        case _:
            raise TokenizerError("GGUF holds byte-pair tokenizers and SentencePiece's; this one has characters")
    fields |= _ids(tokenizer)
    return {**{PREFIX + key: value for key, value in fields.items()}, **_own_fields(tokenizer)}, notes


def _piece_fields(pieces: SentencePieces, n_ids: int) -> dict[str, Any]:
    kinds = [TokenType.BYTE if _BYTE.fullmatch(piece) else TokenType.NORMAL for piece in pieces.pieces]
    for kind, ids in ((TokenType.CONTROL, pieces.control), (TokenType.USER_DEFINED, pieces.added)):
        for i in ids:
            kinds[i] = kind
    more = range(len(kinds), n_ids)
    fields = {
        "model": "llama",
        "pre": "default",
        "tokens": [*pieces.pieces, *(f"[UNUSED{i}]" for i in more)],
        "scores": [*map(float, pieces.scores), *(0.0 for _ in more)],
        "add_space_prefix": pieces.adds_blank,
    }
    if pieces.unknown is not None:
        kinds[pieces.unknown] = TokenType.UNKNOWN
        fields["unknown_token_id"] = pieces.unknown
    return {**fields, "token_type": [*map(int, kinds), *(int(TokenType.UNUSED) for _ in more)]}


def _byte_pair_fields(tokenizer: Tokenizer, scheme: BytePairScheme, n_ids: int) -> tuple[dict[str, Any], list[str]]:
    special = tokenizer.special_tokens
    if scheme.pattern not in _WRITTEN:
        raise TokenizerError(
            f"GGUF: llama.cpp does not know the splitting pattern {scheme.pattern!r}; it knows {', '.join(_WRITTEN)}"
        )
    pre, notes = _WRITTEN[scheme.pattern], []
    takes_whole = pre in _WHOLE_WORDS_FIRST
    if takes_whole != scheme.whole_words_first and any(scheme.unreached()):
        raise TokenizerError(
            "GGUF: some tokens are reached by whole words alone, which llama.cpp does "
            f"{'always' if takes_whole else 'never'} for the pattern {scheme.pattern}"
        )
    if scheme.pattern == "cl100k":
        notes.append("llama.cpp splits as Llama 3: unlike cl100k where a text ends in blanks behind a line end")
    if scheme.pattern == "o200k":
        notes.append("llama.cpp tells capital from small letters in ASCII alone: other words may become other tokens")
    if scheme.normalizer is not None:
        notes.append(f"llama.cpp does not bring text to the form {scheme.normalizer} first")
    written = [None if token is None else printable(token) for token in scheme.tokens]
    names: list[str | None] = [*written, *[None] * (n_ids - len(written))]
    kinds = [TokenType.UNUSED if name is None else TokenType.NORMAL for name in names]
    for name, i in special.items():
        names[i], kinds[i] = name, TokenType.CONTROL
    for name, i in tokenizer.added_tokens.items():
        names[i], kinds[i] = name, TokenType.USER_DEFINED
    fields: dict[str, Any] = {
        "model": "gpt2",
        "pre": pre,
        "tokens": [f"[UNUSED{i}]" if name is None else name for i, name in enumerate(names)],
        "token_type": [int(kind) for kind in kinds],
        "merges": [f"{written[left]} {written[right]}" for left, right in scheme.merges],
    }
    return fields, notes


def _ids(tokenizer: Tokenizer) -> dict[str, int | bool]:
    """Special ids by their use; llama.cpp has defaults, which would be wrong, for those that are left out."""
    before, after = tokenizer.template
    ids = {**tokenizer.special_tokens, **tokenizer.added_tokens}
    end = tokenizer.end_of_text_id
    if len(before) > 1 or (after and [ids[name] for name in after] != [end]):
        raise TokenizerError(
            f"GGUF: llama.cpp puts one token before a text and the end token behind it, not {', '.join(before + after)}"
        )
    first = ids[before[0]] if before else end
    found: dict[str, int | bool | None] = {
        "bos_token_id": first,
        "eos_token_id": end,
        "padding_token_id": tokenizer.pad_id,
        "mask_token_id": tokenizer.mask_id,
        "eot_token_id": None if tokenizer.chat_template is None else ids[tokenizer.chat_template.stop],
    }
    return {
        **{key: value for key, value in found.items() if value is not None},
        "add_bos_token": bool(before),
        "add_eos_token": bool(after),
    }


def _own_fields(tokenizer: Tokenizer) -> dict[str, str]:
    """What stands under no key of llama.cpp's alone."""
    fields, scheme = dict[str, str](), tokenizer.scheme
    if isinstance(scheme, BytePairScheme):
        fields[SPLITTING] = json.dumps([scheme.pattern, scheme.whole_words_first, scheme.normalizer])
    if tokenizer.chat_template is not None:
        fields |= {JINJA: str(jinja_of(tokenizer)), CHAT_TEMPLATE: tokenizer.chat_template.model_dump_json()}
    return fields


def tokenizer_from_fields(metadata: Mapping[str, Any], where: str) -> tuple[Tokenizer, list[str]]:
    """The tokenizer of a file's metadata, and what a user must be told of it.

    Raises:
        TokenizerError: for a missing or damaged field, and kinds of tokenizers that we do not have.
    """
    kind = metadata.get(f"{PREFIX}model")
    match kind:
        case "gpt2":
            tokenizer = _byte_pairs(metadata, where)
        case "llama":
            tokenizer = _pieces(metadata, where).tokenizer(where)
        case _:
            raise TokenizerError(f"{where}: {PREFIX}model = {kind!r} is not supported; expected gpt2 or llama")
    if (text := metadata.get(CHAT_TEMPLATE)) is not None:
        try:
            return tokenizer.with_chat_template(ChatTemplate.model_validate_json(text)), []
        except ValueError as error:  # of pydantic, and of the control tokens
            raise TokenizerError(f"{where}: {CHAT_TEMPLATE} is damaged ({error})") from None
    if not isinstance(program := metadata.get(JINJA), str):
        return tokenizer, []
    if (template := recognised(program, tokenizer, **_named_ids(metadata, tokenizer))) is not None:
        return tokenizer.with_chat_template(template), []
    told = (
        "its chat template is a Jinja program that says something else than ours, and is not kept; tuning gives it one"
    )
    return tokenizer, [f"{told} of ours"]


def _named_ids(metadata: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, str]:
    """What Jinja programs call the first and the last token of a text."""
    names = {i: name for name, i in {**tokenizer.special_tokens, **tokenizer.added_tokens}.items()}
    ids = {f"{which}_token": metadata.get(f"{PREFIX}{which}_token_id") for which in ("bos", "eos")}
    return {which: names[i] for which, i in ids.items() if type(i) is int and i in names}


def _byte_pairs(metadata: Mapping[str, Any], where: str) -> Tokenizer:
    pre = metadata.get(f"{PREFIX}pre", "default")
    if not isinstance(pre, str) or pre not in _READ:
        raise TokenizerError(
            f"{where}: {PREFIX}pre = {pre!r}: this way to split text is not known here; expected one of "
            f"{', '.join(_READ)}. Import the model with its tokenizer.json instead (--tokenizer)"
        )
    names = _strings(metadata, "tokens", where)
    kinds = _types(metadata, len(names), where)
    merges = _strings(metadata, "merges", where)
    texts, controls = (TokenType.NORMAL, TokenType.BYTE), (TokenType.CONTROL, TokenType.UNKNOWN)
    ordinary = [name if kinds[i] in texts else None for i, name in enumerate(names)]
    special = {name: i for i, name in enumerate(names) if kinds[i] in controls}
    added = {name: i for i, name in enumerate(names) if kinds[i] == TokenType.USER_DEFINED}
    pattern, whole_words_first, normalizer = _splitting(metadata, pre, where)

    def place(i: int) -> str:
        return f"{where}: {PREFIX}merges, entry {i + 1}"

    written = WrittenMerges(split_merges(merges, place), place)
    scheme = byte_pair_scheme(
        _without_end(ordinary),
        written,
        f"{where}: {PREFIX}tokens",
        pattern=pattern,
        whole_words_first=whole_words_first,
        normalizer=normalizer,
    )
    around = [
        _id(metadata, f"{which}_token_id", len(names), where) if metadata.get(f"{PREFIX}add_{which}_token") else None
        for which in ("bos", "eos")
    ]
    template = Template(*(() if i is None else (names[i],) for i in around))
    return Tokenizer(scheme, SpecialTokens(special, added=added, template=template))


def _splitting(metadata: Mapping[str, Any], pre: str, where: str) -> tuple[str, bool, Normalizer | None]:
    """Pattern, whether whole words come first, and normal form: ours as we wrote them, else what the name says."""
    if SPLITTING not in metadata:
        return _READ[pre], pre in _WHOLE_WORDS_FIRST, "NFC" if pre == "qwen2" else None
    try:
        found = TypeAdapter(tuple[str, bool, Normalizer | None]).validate_json(metadata[SPLITTING], strict=True)
    except ValidationError:
        found = None
    if found is None or _WRITTEN.get(found[0]) != pre:
        raise TokenizerError(f"{where}: {SPLITTING} = {metadata[SPLITTING]!r:.60} is damaged, or not that of {pre}")
    return found


def _pieces(metadata: Mapping[str, Any], where: str) -> SentencePieces:
    names = _strings(metadata, "tokens", where)
    scores = metadata.get(f"{PREFIX}scores")
    if not isinstance(scores, list) or len(scores) != len(names) or not all(isinstance(s, int | float) for s in scores):
        raise TokenizerError(f"{where}: {PREFIX}scores: expected {len(names)} numbers, one for each token")
    kinds = _types(metadata, len(names), where)
    return SentencePieces(
        pieces=names,
        scores=scores,
        control=[i for i, kind in enumerate(kinds) if kind == TokenType.CONTROL],
        added=[i for i, kind in enumerate(kinds) if kind == TokenType.USER_DEFINED],
        unknown=next((i for i, kind in enumerate(kinds) if kind == TokenType.UNKNOWN), None),
        bos=_id(metadata, "bos_token_id", len(names), where) if metadata.get(f"{PREFIX}add_bos_token", True) else None,
        adds_blank=bool(metadata.get(f"{PREFIX}add_space_prefix", True)),
    )


def _strings(metadata: Mapping[str, Any], key: str, where: str) -> list[str]:
    value = metadata.get(PREFIX + key)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise TokenizerError(f"{where}: {PREFIX}{key}: expected a list of texts; a tokenizer is incomplete without it")
    return value


def _id(metadata: Mapping[str, Any], key: str, n: int, where: str) -> int | None:
    """The id under a key; None if the file has none."""
    value = metadata.get(PREFIX + key)
    if value is not None and (type(value) is not int or not 0 <= value < n):
        raise TokenizerError(f"{where}: {PREFIX}{key} = {value!r}; expected 0 to {n - 1}")
    return value


def _types(metadata: Mapping[str, Any], n: int, where: str) -> list[int]:
    value = metadata.get(f"{PREFIX}token_type", [int(TokenType.NORMAL)] * n)
    if not isinstance(value, list) or len(value) != n:
        raise TokenizerError(f"{where}: {PREFIX}token_type: expected {n} numbers, one for each token")
    return value


def _without_end(names: list[str | None]) -> list[str | None]:
    """The same up to the last name."""
    while names and names[-1] is None:
        names.pop()
    return names
