"""Whether a tokenizer keeps every id of another, so that what was made with the one can be read with the other."""

from hornbook.tokenizer.tokenizer import Tokenizer


def first_difference(one: Tokenizer, other: Tokenizer, *, where: tuple[str, str]) -> str | None:
    """The first id of `one` that `other` has not got or reads otherwise, in words; None if it keeps them all.

    where: what the two belong to, for the words: ("the data", "it").
    """
    here, there = where
    specials = [{number: text for text, number in each.special_tokens.items()} for each in (one, other)]
    unused, missing = set(one.unused_ids), set(other.unused_ids)
    for number in range(one.vocab_size):
        if number in unused:
            continue
        if number >= other.vocab_size:
            return f"{there} has {other.vocab_size} ids, {here} {one.vocab_size}"
        if number in missing:
            return f"id {number} is {one.token_bytes(number)!r} in {here}, nobody's in {there}"
        mine, theirs = (each.get(number) for each in specials)
        if mine != theirs:
            return f"id {number} is {mine or 'an ordinary token'} in {here}, {theirs or 'an ordinary token'} in {there}"
        if mine is None and one.token_bytes(number) != other.token_bytes(number):
            return f"id {number} is {one.token_bytes(number)!r} in {here}, {other.token_bytes(number)!r} in {there}"
    return None


def joined(given: Tokenizer, made_with: Tokenizer) -> Tokenizer:
    """Of a starting point's tokenizer and that of the data the one that has more ids, if it keeps all of the other.

    Otherwise `given`, which the data then refuse. The chat template is that of the data, if they have one.
    """
    extends = made_with.vocab_size > given.vocab_size and keeps(given, made_with)
    tokenizer, other = (made_with, given) if extends else (given, made_with)
    template = made_with.chat_template or given.chat_template
    if template is None or template == tokenizer.chat_template or not keeps(other, tokenizer):
        return tokenizer
    return tokenizer.with_chat_template(template)


def keeps(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether `other` has every id of `one`, as the same token."""
    return one.fingerprint == other.fingerprint or first_difference(one, other, where=("one", "the other")) is None
