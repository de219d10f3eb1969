"""Byte-pair encoding in the slowest and most obvious way: everything is counted again after every merge."""

from collections import Counter


def learn_merges(words, alphabet, n_merges, *, tie_order):
    """Merges as pairs of byte strings; `words` maps bytes to counts, `alphabet` lists bytes in the order of ids."""
    tokens = [bytes([byte]) for byte in alphabet]
    split = {word: [word[i : i + 1] for i in range(len(word))] for word in words}
    merges = []
    for _ in range(n_merges):
        pairs = Counter()
        for word, count in words.items():
            for pair in zip(split[word], split[word][1:], strict=False):
                pairs[pair] += count
        if not pairs:
            break
        most = max(pairs.values())
        best = [pair for pair, count in pairs.items() if count == most]
        if tie_order == "hf":
            pair = min(best, key=lambda pair: (tokens.index(pair[0]), tokens.index(pair[1])))
        else:
            pair = max(best)
        merges.append(pair)
        tokens.append(pair[0] + pair[1])
        split = {word: replace(parts, pair) for word, parts in split.items()}
    return merges


def replace(parts, pair):
    """The parts with `pair` joined wherever it stands, left to right."""
    joined, i = [], 0
    while i < len(parts):
        if tuple(parts[i : i + 2]) == pair:
            joined.append(pair[0] + pair[1])
            i += 2
        else:
            joined.append(parts[i])
            i += 1
    return joined


def encode_word(word, merges):
    """Tokens of a word: each merge in turn, best first, wherever it stands."""
    parts = [word[i : i + 1] for i in range(len(word))]
    for pair in merges:
        parts = replace(parts, pair)
    return parts
