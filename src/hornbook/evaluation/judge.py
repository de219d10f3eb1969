"""How surprised another model is by generated texts: a judge that did not write them.

A low number is no praise by itself: a loop is no surprise to anybody. Read it beside repetition and entropy.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from hornbook.errors import ConfigError
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Sums over all texts; prompts are read and not counted."""

    nats: float
    tokens: int
    """Of the judge's own tokenizer."""
    bytes: int
    """Of the texts in UTF-8, as far as they were read."""


@torch.no_grad()
def judged(judge: Transformer, tokenizer: Tokenizer, texts: Iterable[tuple[str, str]]) -> Judgement:
    """Of each (prompt, continuation) the continuation's tokens, as far as the judge's context reaches.

    Raises:
        ConfigError: where a prompt is empty and the judge's tokenizer has no end-of-text token to begin with.
    """
    device, was_training = next(judge.parameters()).device, judge.training
    lengths = tokenizer.byte_lengths()
    nats, n_tokens, n_bytes = 0.0, 0, 0
    judge.eval()
    try:
        for prompt, text in texts:
            before = tokenizer.encode(prompt) or _beginning(tokenizer)
            ids = torch.tensor([[*before, *tokenizer.encode(text)][: judge.config.context_length + 1]], device=device)
            scored = ids[0, len(before) :]
            if len(scored):
                nll = judge(ids[:, :-1], targets=ids[:, 1:]).nll[0, len(before) - 1 :]
                nats += float(nll.double().sum())
                n_tokens += len(scored)
                n_bytes += int(lengths[scored.cpu().numpy()].sum())
    finally:
        judge.train(was_training)
    return Judgement(nats=nats, tokens=n_tokens, bytes=n_bytes)


def _beginning(tokenizer: Tokenizer) -> list[int]:
    if tokenizer.end_of_text_id is None:
        raise ConfigError("the judge's tokenizer has no end-of-text token to begin a text with; give prompts")
    return [tokenizer.end_of_text_id]
