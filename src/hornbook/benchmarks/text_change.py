"""What a faster way to decode costs: the texts of both ways, judged by the model that wrote them.

text       the bound on -log p(text | prompt), which does not ask how the text was found
choices    the nll of every choice, given what was decided before its step, read without a cache; that several
           choices of one step do not know of each other does not show here, but in the text
"""

from collections.abc import Sequence

from hornbook.benchmarks.block_decoding import Decoded
from hornbook.benchmarks.denoising_model import Denoiser
from hornbook.config.bound import BoundConfig
from hornbook.evaluation.answer_bound import bound_answer
from hornbook.evaluation.diffusion_bound import draw_of
from hornbook.evaluation.noised_scorer import NoisedScorer
from hornbook.generation.divergence import path_nll

DRAWS = 32
"""Ways to hide the tokens of each text: the same ones for both, so that their noise cancels in the difference."""


def change_of_text(opened: Denoiser, fast: Decoded, exact: Decoded) -> str:
    """Both nlls a token of the `fast` way beside those of the `exact` one (no cache), and how many ids agree."""
    assert opened.tokenizer is not None
    choices = path_nll(opened.model, fast.steps, opened.tokenizer, causal_block_length=opened.causal_block)
    text, exact_text = nll_of(opened, fast.texts), nll_of(opened, exact.texts)
    pairs = [pair for one, other in zip(fast.texts, exact.texts, strict=True) for pair in zip(one, other, strict=True)]
    agreement = sum(one == other for one, other in pairs) / len(pairs)
    return (
        f"nll of its text {text:.3f} nats a token at most, of the exact way's {exact_text:.3f}: "
        f"{text - exact_text:+.3f} ({DRAWS} draws); of its choices {choices:.3f}, of the exact way's {exact.nll:.3f}; "
        f"{agreement:.0%} of ids agree"
    )


def nll_of(opened: Denoiser, texts: Sequence[Sequence[int]]) -> float:
    """The bound on -log p(text | prompt) under the model, in nats a token over all texts."""
    score = NoisedScorer(opened.model, opened.mask_id, block_length=opened.causal_block)
    draw = draw_of(BoundConfig(draws=DRAWS), opened.causal_block)
    nats = [bound_answer(score, prompt, text, draw)[0] for prompt, text in zip(opened.prompts, texts, strict=True)]
    return sum(nats) / sum(map(len, texts))
