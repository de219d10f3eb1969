"""Weights for a vocabulary that has grown, as for the control tokens of a chat template.

Rows of new tokens, in the embedding and in the head, start as the mean of the rows of all old tokens. The logit of a
new token is then the mean of the old logits, so that by Jensen's inequality it is no likelier than an old one on
average: of n old tokens and k new ones, the old keep at least n / (n + k) of their probability, and none of their
logits changes. A random row, whose logit knows nothing of how far below the best one all others lie, may take most of
the probability. No noise is added: two new tokens part with the first gradient, since they are read and are to be
named at different places.
Hewitt, "Initializing new word embeddings for pretrained language models", 2021.
"""

from collections.abc import Mapping

from torch import Tensor

ROWS = ("token_embedding.weight", "head.weight")
"""What has a row for each token."""


def grown(weights: Mapping[str, Tensor], *, known: int, tokens: int, rows: int) -> Mapping[str, Tensor]:
    """The weights of a model with `rows` rows, of which the first `tokens` are for tokens; the first `known` are kept.

    A row that stood for no token before is new as well, however long it has been there.
    """
    changed = {}
    for name in ROWS:
        if name not in weights:
            continue
        saved = weights[name]
        whole = saved[:known].mean(dim=0).repeat(rows, 1)
        whole[:known] = saved[:known]
        whole[max(known, tokens) : len(saved)] = saved[max(known, tokens) :]
        changed[name] = whole
    return {**weights, **changed}
