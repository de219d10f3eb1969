"""Hugging Face's tokenizer.json, read and written: byte-level BPE as GPT-2, GPT-NeoX, Llama 3, Qwen 2, SmolLM 2.

Their special tokens count in any text; ours only where they are allowed, so `encode(text, allowed_special="all")` is
what equals them, and with `template=True` their encoding with special tokens put around. Their other added tokens count
in any text for us, too. Whatever would change ids and we do not do (other models, other normalizers, blanks put before
a text) is an UnsupportedError that names the part; `foreign` reads most of these. Truncation and padding are not read.
Source: https://github.com/huggingface/tokenizers
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from hornbook.errors import TokenizerError
from hornbook.tokenizer.alphabet import printable
from hornbook.tokenizer.byte_pair import BYTES_OF_TEXT, BytePairScheme, Normalizer
from hornbook.tokenizer.patterns import PATTERNS
from hornbook.tokenizer.special_tokens import FLAGS, SpecialTokens, Template, follows
from hornbook.tokenizer.vocabulary import (
    WrittenMerges,
    byte_pair_scheme,
    names_by_id,
    parse_object,
    split_merges,
)

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
_BY_WORDS = {**_BYTE_LEVEL, "use_regex": True}


def parse(text: str, where: str) -> tuple[BytePairScheme, SpecialTokens]:
    """The vocabulary and the special tokens of a tokenizer.json.

    Raises:
        TokenizerError: if the file is damaged or has an unsupported part.
    """
    whole = parse_object(text, where)
    model = _model(whole.get("model"), where)
    _check_decoder(whole.get("decoder"), where)
    normalizer = _normalizer(whole.get("normalizer"), where)
    entries = _object(model.get("vocab"), "model.vocab", where)
    special = special_tokens(whole, entries, normalizer, where)
    drops_bytes = any(printable(bytes([byte])) not in entries for byte in BYTES_OF_TEXT)
    if drops_bytes and model.get("unk_token") is not None:
        raise _unsupported(where, f"model.unk_token = {model['unk_token']!r}, where bytes are missing", "null only")
    names = special.all_ids
    scheme = byte_pair_scheme(
        names_by_id({name: i for name, i in entries.items() if name not in names}, f"{where}: model.vocab"),
        _merges(model.get("merges"), where),
        f"{where}: model.vocab",
        pattern=_pattern(whole.get("pre_tokenizer"), where),
        whole_words_first=model.get("ignore_merges") is True,
        normalizer=normalizer,
        drops_bytes=drops_bytes,
    )
    return scheme, special


def dump(scheme: BytePairScheme, special: SpecialTokens) -> str:
    """The text of a tokenizer.json that gives the same ids in the library `tokenizers`.

    Raises:
        TokenizerError: if a special token has the name of an ordinary one, which that form cannot tell apart.
    """
    written = ["" if token is None else printable(token) for token in scheme.tokens]
    vocabulary = {name: i for i, name in enumerate(written) if name}
    names = special.all_ids
    check_names(names, vocabulary, "tokenizer.json")
    if not follows(names, len(vocabulary)):  # the library gives the next free ids to names that the model lacks
        vocabulary = dict(sorted({**vocabulary, **names}.items(), key=lambda item: item[1]))
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [written_name(name, i, special) for name, i in names.items()],
        "normalizer": {"type": scheme.normalizer} if scheme.normalizer else None,
        "pre_tokenizer": _written_pattern(scheme),
        "post_processor": _written_template(special),
        "decoder": _BY_WORDS,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": scheme.whole_words_first,
            "vocab": vocabulary,
            "merges": [[written[left], written[right]] for left, right in scheme.merges],
        },
    }
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def check_names(names: Mapping[str, int], vocabulary: Mapping[str, int], form: str) -> None:
    """Refuse to write special tokens beside ordinary ones of the same name.

    Raises:
        TokenizerError: if there is one.
    """
    if both := vocabulary.keys() & names.keys():
        raise TokenizerError(
            f"{form} cannot hold the special token {min(both)!r} beside an ordinary token of that name; "
            "choose a name such as <|name|>"
        )


class UnsupportedError(TokenizerError):
    """A part of the file that byte-level BPE as we do it has no form for."""


def _unsupported(where: str, part: str, expected: str) -> UnsupportedError:
    return UnsupportedError(f"{where}: unsupported {part}; hornbook reads {expected}")


def _object(value: object, part: str, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TokenizerError(f"{where}: {part} is {value!r:.60}; expected a JSON object")
    return value


def parts(value: object, part: str, inner: str, where: str) -> Iterator[dict[str, object]]:
    """The members of a pipeline, with nested sequences laid flat; nothing for null."""
    if value is None:
        return
    step = _object(value, part, where)
    if step.get("type") != "Sequence":
        yield step
        return
    members = step.get(inner)
    if not isinstance(members, list):
        raise TokenizerError(f"{where}: {part}.{inner} is {members!r:.60}; expected a JSON list")
    for member in members:
        yield from parts(member, part, inner, where)


def _model(value: object, where: str) -> dict[str, object]:
    model = _object(value, "model", where)
    kind = model.get("type", "BPE" if "merges" in model else None)
    if kind != "BPE":
        raise _unsupported(where, f"model.type {kind!r}", "byte-level BPE only")
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(key):
            raise _unsupported(where, f"model.{key} = {model[key]!r}", "models without it")
    return model


def _normalizer(value: object, where: str) -> Normalizer | None:
    steps = list(parts(value, "normalizer", "normalizers", where))
    match steps:
        case []:
            return None
        case [{"type": "NFC"}]:
            return "NFC"
    raise _unsupported(where, f"normalizer {' + '.join(str(step.get('type')) for step in steps)}", "none or NFC")


def _pattern(value: object, where: str) -> str:
    steps = list(parts(value, "pre_tokenizer", "pretokenizers", where))
    for step in steps:
        if step.get("add_prefix_space"):
            raise _unsupported(where, "pre_tokenizer with add_prefix_space = true", "add_prefix_space = false only")
    match steps:
        case [{"type": "ByteLevel", **rest}] if rest.get("use_regex", True):
            return "gpt2"
        case [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", **rest},
        ] if rest.get("use_regex", True):
            return "smollm"
        case [{"type": "Split", **split}, {"type": "ByteLevel", **rest}] if not rest.get("use_regex", True):
            if (pattern := _split_pattern(split)) is not None:
                return pattern
    kinds = " + ".join(_kind(step) for step in steps) or "null"
    raise _unsupported(
        where,
        f"pre_tokenizer {kinds}",
        "ByteLevel, Digits (individual) and then ByteLevel, or Split (Isolated) and then ByteLevel without its regex",
    )


def _split_pattern(split: Mapping[str, object]) -> str | None:
    match split:
        case {"pattern": {"Regex": str(expression)}}:
            named = next((name for name, known in PATTERNS.items() if known.expression == expression), None)
        case {"pattern": {"String": str(content)}}:
            expression, named = re.escape(content), None
        case _:
            return None
    match split.get("behavior"), bool(split.get("invert")):
        case ("Isolated", False):
            return named or expression
        case ("Removed", True):  # keeps what matches, which is everything for a pattern that covers every text
            return named
    return None


def _kind(step: Mapping[str, object]) -> str:
    """A step as an error message names it: its type and what it does."""
    keys = ("behavior", "invert", "individual_digits", "use_regex")
    details = ", ".join(f"{key} = {step[key]}" for key in keys if key in step)
    return f"{step.get('type')} ({details})" if details else str(step.get("type"))


def _written_pattern(scheme: BytePairScheme) -> dict[str, object]:
    if scheme.pattern == "gpt2":
        return _BY_WORDS
    if scheme.pattern == "smollm":
        first: dict[str, object] = {"type": "Digits", "individual_digits": True}
        return {"type": "Sequence", "pretokenizers": [first, _BY_WORDS]}
    pattern = {"Regex": scheme.splitter.expression}
    first = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [first, {**_BYTE_LEVEL, "use_regex": False}]}


def _check_decoder(value: object, where: str) -> None:
    for step in parts(value, "decoder", "decoders", where):
        if step.get("type") != "ByteLevel":
            raise _unsupported(where, f"decoder {step.get('type')}", "the decoder ByteLevel")


def special_tokens(
    whole: Mapping[str, object], entries: Mapping[str, object], normalizer: Normalizer | None, where: str
) -> SpecialTokens:
    """The added tokens of a tokenizer.json with these `entries` of its vocabulary, and what it puts around a text.

    Raises:
        TokenizerError: if they are damaged, or the template is none of ours.
    """
    added = _added_tokens(whole.get("added_tokens"), entries, where)
    normalized = {name for name, token in added.items() if token.normalized}
    if normalizer is None and len(normalized) == len(added):  # all at once and in the same text: no matter when
        normalized = set()
    template = _template(whole.get("post_processor"), {token.token_id: name for name, token in added.items()}, where)
    try:
        return SpecialTokens(
            {name: token.token_id for name, token in added.items() if token.special},
            added={name: token.token_id for name, token in added.items() if not token.special},
            normalized=normalized,
            template=template,
            flags={name: token.flags for name, token in added.items()},
        )
    except TokenizerError as error:
        raise TokenizerError(f"{where}: added_tokens: {error}") from error


class _Added(NamedTuple):
    token_id: int
    special: bool
    normalized: bool
    flags: tuple[str, ...]


def _added_tokens(value: object, entries: Mapping[str, object], where: str) -> dict[str, _Added]:
    added: dict[str, _Added] = {}
    following = len(entries)
    if not isinstance(value, list | None):
        raise TokenizerError(f"{where}: added_tokens is {value!r:.60}; expected a JSON list")
    for token in value or ():
        match token:
            case {"content": str(content), "id": int(i)}:
                pass
            case _:
                raise TokenizerError(f"{where}: added_tokens: {token!r:.60}; expected an object with content and id")
        if content in added:
            raise TokenizerError(f"{where}: added_tokens: {content!r} stands there twice; expected it once")
        if (expected := entries.get(content, following)) != i:
            raise TokenizerError(
                f"{where}: added_tokens: {content!r} has the id {i}; expected {expected!r}, which model.vocab gives it "
                "(names that it lacks follow without gaps)"
            )
        following = max(following, i + 1)
        special = token.get("special") is True
        flags = tuple(flag for flag in FLAGS if token.get(flag))
        added[content] = _Added(i, special, token.get("normalized", not special) is True, flags)
    return added


def _template(value: object, names: Mapping[int, str], where: str) -> Template:
    """The tokens that a post-processor puts around one text."""
    template = Template()
    for step in parts(value, "post_processor", "processors", where):
        match step:
            case {"type": "ByteLevel"}:
                continue
            case {"type": "TemplateProcessing", "single": list(pieces), "special_tokens": dict(tokens)}:
                found = _around(pieces, tokens, names)
                if found is not None and not any(template):
                    template = found
                    continue
        raise _unsupported(
            where, f"post_processor {step.get('type')}", "ByteLevel, and one TemplateProcessing with added tokens"
        )
    return template


def _around(pieces: list[object], tokens: Mapping[str, object], names: Mapping[int, str]) -> Template | None:
    """The names before and after the one text of a template; None for any other template."""
    sides: list[list[str]] = [[]]
    for piece in pieces:
        match piece:
            case {"Sequence": {"id": "A"}}:
                sides.append([])
            case {"SpecialToken": {"id": str(key)}}:
                match tokens.get(key):
                    case {"ids": list(ids)} if all(type(i) is int and i in names for i in ids):
                        sides[-1] += [names[i] for i in ids]
                    case _:
                        return None
            case _:
                return None
    return Template(tuple(sides[0]), tuple(sides[1])) if len(sides) == 2 else None


def written_name(name: str, token_id: int, special: SpecialTokens) -> dict[str, object]:
    """One entry of added_tokens."""
    flags = {flag: flag in special.flags.get(name, ()) for flag in FLAGS}
    kind = {"normalized": name in special.normalized, "special": name in special.ids}
    return {"id": token_id, "content": name, **flags, **kind}


def _written_template(special: SpecialTokens) -> dict[str, object] | None:
    template = special.template
    if not any(template):
        return None

    def around(text: str, type_id: int) -> list[object]:
        before, after = ([{"SpecialToken": {"id": name, "type_id": type_id}} for name in names] for names in template)
        return [*before, {"Sequence": {"id": text, "type_id": type_id}}, *after]

    ids = special.all_ids
    return {
        "type": "TemplateProcessing",
        "single": around("A", 0),
        "pair": around("A", 0) + around("B", 1),
        "special_tokens": {
            name: {"id": name, "ids": [ids[name]], "tokens": [name]} for names in template for name in names
        },
    }


def _merges(value: object, where: str) -> WrittenMerges:
    def place(i: int) -> str:
        return f"{where}: model.merges, entry {i + 1}"

    if not isinstance(value, list):
        raise TokenizerError(f"{where}: model.merges is {value!r:.60}; expected a JSON list")
    if all(type(merge) is str for merge in value):
        return WrittenMerges(split_merges(value, place), place)
    for i, merge in enumerate(value):
        if type(merge) is not list or list(map(type, merge)) != [str, str]:
            raise TokenizerError(f"{place(i)}: got {merge!r:.60}; expected two tokens")
    return WrittenMerges(value, place)
