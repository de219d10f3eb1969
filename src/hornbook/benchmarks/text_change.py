"""What a faster way to decode costs: the text of both ways, judged by the model that wrote them."""

from collections.abc import Sequence

from hornbook.benchmarks.denoising_model import Denoiser
from hornbook.config.bound import BoundConfig
from hornbook.evaluation.answer_bound import bound_answer
from hornbook.evaluation.diffusion_bound import draw_of
from hornbook.evaluation.noised_scorer import NoisedScorer

DRAWS = 32
"""Ways to hide the tokens of each text: the same ones for both, so that their noise cancels in the difference."""


def change_of_text(opened: Denoiser, texts: Sequence[Sequence[int]], exact: Sequence[Sequence[int]]) -> str:
    """The bound on nll a token of `texts` and of the `exact` path's after the same prompts, and how many ids agree."""
    fast, slow = nll_of(opened, texts), nll_of(opened, exact)
    pairs = [pair for one, other in zip(texts, exact, strict=True) for pair in zip(one, other, strict=True)]
    agreement = sum(one == other for one, other in pairs) / len(pairs)
    return (
        f"nll of its text {fast:.3f} nats a token, of the exact path's {slow:.3f}: {fast - slow:+.3f} ({DRAWS} draws); "
        f"{agreement:.0%} of ids agree"
    )


def nll_of(opened: Denoiser, texts: Sequence[Sequence[int]]) -> float:
    """The bound on -log p(text | prompt) under the model, in nats a token over all texts."""
    score = NoisedScorer(opened.model, block_length=opened.causal_block)
    draw = draw_of(BoundConfig(draws=DRAWS), opened.causal_block)
    nats = [
        bound_answer(score, prompt, text, draw, mask_id=opened.mask_id)[0]
        for prompt, text in zip(opened.prompts, texts, strict=True)
    ]
    return sum(nats) / sum(map(len, texts))
