"""Ways to decode, side by side on one prompt: what each writes, how likely the model finds it, how much it repeats.

Searching for likely text and drawing from the model differ more than their settings suggest: the likeliest text of a
language model is short or repeats itself, and people's text is neither (Holtzman et al. 2020, arXiv:1904.09751).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from hornbook.config.generate import BeamConfig, GenerateConfig, SamplingConfig
from hornbook.errors import GenerationError
from hornbook.generation.backends import Backend, Span
from hornbook.generation.choice import NEXT_TOKEN, decoder_name
from hornbook.generation.engines import Engines
from hornbook.generation.modes import evaluating
from hornbook.generation.open_backend import open_backend
from hornbook.generation.prefill import prefill
from hornbook.generation.prompt_ids import Prompt, encode_prompt
from hornbook.generation.text import generate_text
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer

WAYS: Mapping[str, Mapping[str, object]] = {
    "greedy": {"temperature": 0.0},
    "beam 10": {"strategy": "beam", "beam": BeamConfig(width=10)},
    "top-k 128": {"temperature": 1.0, "top_k": 128},
    "temperature 0.7": {"temperature": 0.7},
    "top-p 0.95": {"temperature": 1.0, "top_p": 0.95},
}
"""Settings of each way that is compared."""
REFERENCE = "the document"
"""The name of what really follows the prompt."""
REPEATED = 4
"""Tokens of what counts as a repetition."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What came of the prompt in one way."""

    way: str
    settings: Mapping[str, object]
    text: str
    tokens: int
    finish_reason: str
    logprob: float
    """Of the whole text under the model, before any filter, in nats."""
    repetition: float
    """Share of its runs of 4 tokens that stood in it before: seq-rep-4 of Welleck et al. 2019, arXiv:1908.04319."""
    seconds: float | None

    @property
    def logprob_per_token(self) -> float:
        """Nats a token; minus it is the logarithm of the text's perplexity."""
        return self.logprob / self.tokens if self.tokens else 0.0


def compare_texts(
    model: Transformer,
    tokenizer: Tokenizer,
    prompt: Prompt,
    config: GenerateConfig,
    *,
    objective: Mapping[str, object] = NEXT_TOKEN,
    reference: Sequence[int] = (),
    note: Callable[[str], None] = lambda text: None,
) -> list[Written]:
    """The text of each of WAYS, and last, if there is one, `reference`: ids that really followed the prompt.

    Of `config` count seed, max_new_tokens, stop, context_overflow, backend and precision. `note` hears, once, why
    kernels do not serve the model.

    Raises:
        GenerationError: as `generate_text`, for a model that is not autoregressive, and for settings that the ways
            themselves decide.
    """
    check_comparison(config, objective)
    common = {
        name: getattr(config, name)
        for name in ("max_new_tokens", "stop", "context_overflow", "backend", "precision", "checkpoint")
    }
    engines, found = Engines(note), []
    for way, settings in WAYS.items():
        seed = {} if "strategy" in settings else {"seed": config.seed}
        own = GenerateConfig.model_validate({**common, **seed, **settings})
        # a search has a backend of its own, which would say the same again
        [made] = generate_text(
            model, tokenizer, [prompt], own, objective=objective, engines=None if "strategy" in settings else engines
        )
        found.append(
            Written(
                way=way,
                settings=_told(settings) | seed,
                text=made.text,
                tokens=len(made.tokens),
                finish_reason=made.finish_reason,
                logprob=sum(made.logprobs),
                repetition=repetition(made.tokens),
                seconds=made.seconds,
            )
        )
    if reference:
        found.append(_reference(model, tokenizer, prompt, config, reference))
    return found


def check_comparison(config: GenerateConfig, objective: Mapping[str, object]) -> None:
    """Refuse what has no effect on a comparison, and a model that cannot be compared so.

    Raises:
        GenerationError: naming it.
    """
    if decoder_name(config, objective) != "autoregressive":
        raise GenerationError(
            f'greedy, beams and sampling are compared token by token, and objective.kind = "{objective.get("kind")}" '
            "fills masks; take a model that was trained with next_token"
        )
    if config.context_overflow == "slide":
        raise GenerationError(
            'generate.context_overflow = "slide": beams, which are compared, cannot slide; leave it at "stop"'
        )
    decided = [name for name in (*SamplingConfig.model_fields, "strategy", "beam", "draft", "cache") if name != "seed"]
    usual = GenerateConfig()
    if changed := [name for name in decided if getattr(config, name) != getattr(usual, name)]:
        raise GenerationError(
            f"generate.{changed[0]} has no effect on a comparison, whose ways are {', '.join(WAYS)}; leave it out"
        )


def repetition(tokens: Sequence[int], n: int = REPEATED) -> float:
    """Share of the runs of `n` tokens that stood in the text before; 0 where it has none."""
    runs = [tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


@torch.inference_mode()
def logprobs_of(backend: Backend, prompt: Sequence[int], tokens: Sequence[int]) -> list[float]:
    """Of each of `tokens` after the prompt, in nats; the backend has room for both."""
    prefill(backend, 0, prompt)
    span = Span(slot=0, start=len(prompt) - 1, tokens=[prompt[-1], *tokens[:-1]], every=True)
    logits = backend.read([span]).double()
    chosen = logits.gather(-1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0]
    logprobs: list[float] = (chosen - logits.logsumexp(dim=-1)).tolist()
    return logprobs


def _reference(
    model: Transformer, tokenizer: Tokenizer, prompt: Prompt, config: GenerateConfig, reference: Sequence[int]
) -> Written:
    ids = encode_prompt(tokenizer, prompt) if isinstance(prompt, str) else list(prompt)
    tokens = list(reference)[: min(config.max_new_tokens, model.config.context_length - len(ids) + 1)]
    with evaluating(model):
        backend = open_backend(
            model, slots=1, max_length=len(ids) + len(tokens) - 1, config=config, note=lambda _: None
        )
        logprobs = logprobs_of(backend, ids, tokens)
    return Written(
        way=REFERENCE,
        settings={},
        text=tokenizer.decode(tokens, skip_special=True),
        tokens=len(tokens),
        finish_reason="stop" if len(tokens) == len(reference) else "length",
        logprob=sum(logprobs),
        repetition=repetition(tokens),
        seconds=None,
    )


def _told(settings: Mapping[str, object]) -> dict[str, object]:
    """As JSON has it."""
    return {
        name: value.model_dump(mode="json") if isinstance(value, BeamConfig) else value
        for name, value in settings.items()
    }
