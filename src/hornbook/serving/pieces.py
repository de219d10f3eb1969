"""The tokens of a text, one by one, as /tokenize tells them."""

from collections.abc import Sequence

import orjson

from hornbook.serving.served_model import ServedModel


def told(ids: Sequence[int], served: ServedModel) -> bytes:
    """JSON: {"tokens", "pieces": [{"id", "text", "bytes", "special"}, ...], "count", "max_model_len"}."""
    tokenizer = served.tokenizer
    special = frozenset(tokenizer.special_tokens.values())
    # A text of millions of tokens has few different ones; each is written once.
    written: dict[int, orjson.Fragment] = {}
    for i in set(ids):
        data = tokenizer.token_bytes(i)
        shown = data.decode("utf-8", "replace")
        piece = {"id": i, "text": shown, "bytes": list(data), "special": i in special}
        written[i] = orjson.Fragment(orjson.dumps(piece))
    return orjson.dumps(
        {
            "tokens": list(ids),
            "pieces": [written[i] for i in ids],
            "count": len(ids),
            "max_model_len": served.context_length,
        }
    )
