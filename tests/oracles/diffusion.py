"""The diffusion loss one masked token at a time, from whole logits, in Python floats."""

from oracles.next_token import smoothed_cross_entropy


def weighted_nll(
    logits: list[list[float]], targets: list[int], masked: list[bool], probabilities: list[float]
) -> tuple[float, int]:
    """Sum over the masked tokens of one row of nll / p, and how many they are."""
    terms = [
        smoothed_cross_entropy(row, target, 0.0) / p
        for row, target, hit, p in zip(logits, targets, masked, probabilities, strict=True)
        if hit
    ]
    return sum(terms), len(terms)


def may_attend(query: int, key: int, *, length: int, block_length: int) -> bool:
    """In a row of `length` noised tokens and the same ones clean: arXiv:2503.09573, section 3.3, case by case."""
    query_block, key_block = query % length // block_length, key % length // block_length
    query_is_clean, key_is_clean = query >= length, key >= length
    if not query_is_clean and not key_is_clean:
        return query_block == key_block
    if not query_is_clean and key_is_clean:
        return key_block < query_block
    return query_is_clean and key_is_clean and key_block <= query_block
