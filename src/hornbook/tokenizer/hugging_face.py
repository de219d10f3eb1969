"""Hugging Face's tokenizer.json, read and written: byte-level BPE as GPT-2, Llama 3 and Qwen 2 have it.

Their added tokens are our special tokens. They find those in any text; we do so only where they are allowed, so
`encode(text, allowed_special="all")` is what equals them. Whatever would change ids and we do not do (other models,
other normalizers, blanks put before a text, tokens put around it) is an error that names the part.
Source: https://github.com/huggingface/tokenizers
"""

import json
from collections.abc import Iterator, Mapping

from hornbook.errors import TokenizerError
from hornbook.tokenizer.alphabet import printable
from hornbook.tokenizer.byte_pair import BytePairScheme, Normalizer
from hornbook.tokenizer.patterns import PATTERNS
from hornbook.tokenizer.vocabulary import WrittenMerge, byte_pair_scheme, names_by_id, parse_merge, parse_object

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}


def parse(text: str, where: str) -> tuple[BytePairScheme, dict[str, int]]:
    """The vocabulary and the special tokens of a tokenizer.json.

    Raises:
        TokenizerError: if the file is damaged or has an unsupported part.
    """
    whole = parse_object(text, where)
    model = _model(whole.get("model"), where)
    _check_post_processor(whole.get("post_processor"), where)
    _check_decoder(whole.get("decoder"), where)
    added = _added_tokens(whole.get("added_tokens"), where)
    written = _object(model.get("vocab"), "model.vocab", where)
    entries = {name: i for name, i in written.items() if name not in added}
    if early := [name for name, i in added.items() if i < len(entries)]:
        raise _unsupported(where, f"added token {early[0]!r}: id {added[early[0]]}", "added tokens behind all others")
    ordinary = names_by_id(entries, f"{where}: model.vocab")
    special = names_by_id(added, f"{where}: added_tokens", first=len(ordinary))
    scheme = byte_pair_scheme(
        ordinary,
        _merges(model.get("merges"), where),
        f"{where}: model.vocab",
        pattern=_pattern(whole.get("pre_tokenizer"), where),
        whole_words_first=model.get("ignore_merges") is True,
        normalizer=_normalizer(whole.get("normalizer"), where),
    )
    return scheme, {name: len(ordinary) + i for i, name in enumerate(special)}


def dump(scheme: BytePairScheme, special_tokens: Mapping[str, int]) -> str:
    """The text of a tokenizer.json that gives the same ids in the library `tokenizers`.

    Raises:
        TokenizerError: if a special token has the name of an ordinary one, which that form cannot tell apart.
    """
    written = [printable(token) for token in scheme.tokens]
    if both := set(written) & set(special_tokens):
        raise TokenizerError(
            f"tokenizer.json cannot hold the special token {min(both)!r} beside an ordinary token of that name; "
            "choose a name such as <|name|>"
        )
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    split = {"type": "Split", "pattern": {"Regex": scheme.splitter.expression}, "behavior": "Isolated", "invert": False}
    by_split = {"type": "Sequence", "pretokenizers": [split, {**_BYTE_LEVEL, "use_regex": False}]}
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": name, **flags} for name, i in special_tokens.items()],
        "normalizer": {"type": scheme.normalizer} if scheme.normalizer else None,
        "pre_tokenizer": {**_BYTE_LEVEL, "use_regex": True} if scheme.pattern == "gpt2" else by_split,
        "post_processor": None,
        "decoder": {**_BYTE_LEVEL, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": scheme.whole_words_first,
            "vocab": {token: i for i, token in enumerate(written)},
            "merges": [[written[left], written[right]] for left, right in scheme.merges],
        },
    }
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def _unsupported(where: str, part: str, expected: str) -> TokenizerError:
    return TokenizerError(f"{where}: unsupported {part}; hornbook reads {expected}")


def _object(value: object, part: str, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TokenizerError(f"{where}: {part} is {value!r:.60}; expected a JSON object")
    return value


def _parts(value: object, part: str, inner: str, where: str) -> Iterator[dict[str, object]]:
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
        yield from _parts(member, part, inner, where)


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
    steps = list(_parts(value, "normalizer", "normalizers", where))
    match steps:
        case []:
            return None
        case [{"type": "NFC"}]:
            return "NFC"
    raise _unsupported(where, f"normalizer {' + '.join(str(step.get('type')) for step in steps)}", "none or NFC")


def _pattern(value: object, where: str) -> str:
    steps = list(_parts(value, "pre_tokenizer", "pretokenizers", where))
    for step in steps:
        if step.get("add_prefix_space"):
            raise _unsupported(where, "pre_tokenizer with add_prefix_space = true", "add_prefix_space = false only")
    match steps:
        case [{"type": "ByteLevel", **rest}] if rest.get("use_regex", True):
            return "gpt2"
        case [
            {"type": "Split", "pattern": {"Regex": str(expression)}, "behavior": "Isolated", **split},
            {"type": "ByteLevel", **rest},
        ] if not split.get("invert") and not rest.get("use_regex", True):
            names = (name for name, known in PATTERNS.items() if known.expression == expression)
            return next(names, expression)
    kinds = " + ".join(str(step.get("type")) for step in steps) or "null"
    raise _unsupported(where, f"pre_tokenizer {kinds}", "ByteLevel, or Split by an isolated Regex and then ByteLevel")


def _check_post_processor(value: object, where: str) -> None:
    for step in _parts(value, "post_processor", "processors", where):
        match step:
            case {"type": "ByteLevel"}:
                pass
            case {"type": "TemplateProcessing", "special_tokens": tokens} if not tokens:
                pass
            case _:
                raise _unsupported(
                    where, f"post_processor {step.get('type')}, which adds tokens", "files that add none"
                )


def _check_decoder(value: object, where: str) -> None:
    for step in _parts(value, "decoder", "decoders", where):
        if step.get("type") != "ByteLevel":
            raise _unsupported(where, f"decoder {step.get('type')}", "the decoder ByteLevel")


def _added_tokens(value: object, where: str) -> dict[str, int]:
    added: dict[str, int] = {}
    for token in value if isinstance(value, list) else []:
        match token:
            case {"content": str(content), "id": int(i)}:
                pass
            case _:
                raise TokenizerError(f"{where}: added_tokens: {token!r:.60}; expected an object with content and id")
        for flag in ("single_word", "lstrip", "rstrip"):
            if token.get(flag):
                raise _unsupported(where, f"added token {content!r} with {flag} = true", "added tokens without it")
        if content in added:
            raise TokenizerError(f"{where}: added_tokens: {content!r} stands there twice; expected it once")
        added[content] = i
    return added


def _merges(value: object, where: str) -> list[WrittenMerge]:
    if not isinstance(value, list):
        raise TokenizerError(f"{where}: model.merges is {value!r:.60}; expected a JSON list")
    merges = []
    for number, merge in enumerate(value, start=1):
        place = f"{where}: model.merges, entry {number}"
        match merge:
            case str():
                merges.append(parse_merge(merge, place))
            case [str(left), str(right)]:
                merges.append(WrittenMerge(place, left, right))
            case _:
                raise TokenizerError(f"{place}: got {merge!r:.60}; expected two tokens")
    return merges
