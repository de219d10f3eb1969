"""How surprised another model is by generated texts: a judge that did not write them.

A low number is no praise by itself: a loop is no surprise to anybody. Read it beside repetition and entropy.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from hornbook.evaluation.requests import RequestEncoder
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

    Both are encoded together, behind what begins a text, as RequestEncoder says; blanks at the prompt's end are read
    and not scored. Where nothing begins a text, the first token of one without a prompt is not scored.
    """
    device, was_training = next(judge.parameters()).device, judge.training
    encode = RequestEncoder(tokenizer)
    nats, n_tokens, n_bytes = 0.0, 0, 0
    judge.eval()
    try:
        for prompt, text in texts:
            context, continuation = encode.after(prompt, text)
            ids = torch.tensor([[*context, *continuation][: judge.config.context_length + 1]], device=device)
            scored = ids[0, len(context) :].tolist()
            if scored:
                nll = judge(ids[:, :-1], targets=ids[:, 1:]).nll[0, len(context) - 1 :]
                nats += float(nll.double().sum())
                n_tokens += len(scored)
                n_bytes += _bytes(scored, tokenizer, is_first=context == encode.start)
    finally:
        judge.train(was_training)
    return Judgement(nats=nats, tokens=n_tokens, bytes=n_bytes)


def _bytes(ids: Sequence[int], tokenizer: Tokenizer, *, is_first: bool) -> int:
    """Of text; before its first token some tokenizers put a blank that is none of it."""
    n_bytes = int(tokenizer.byte_lengths()[list(ids)].sum())
    return n_bytes - (is_first and tokenizer.drops_first_blank and tokenizer.token_bytes(ids[0]).startswith(b" "))
