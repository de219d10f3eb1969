"""The n likeliest texts that beam search finds for each prompt."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from hornbook.config.generate import GenerateConfig
from hornbook.errors import GenerationError
from hornbook.generation.beam import Hypothesis
from hornbook.generation.beam_decoder import BeamDecoder
from hornbook.generation.choice import NEXT_TOKEN, choose_decoder
from hornbook.generation.decoder import TokenChunk
from hornbook.generation.engines import EngineSource
from hornbook.generation.prompt_ids import Prompt, encode_prompt, stop_ids
from hornbook.generation.text import Generation, RowText, check_requests
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class RankedText:
    """One of the texts of a prompt."""

    generation: Generation
    rank: int
    """From 1."""
    score: float
    """Sum of the log-probabilities in nats, over the length penalty."""


def search_texts(
    model: Transformer,
    tokenizer: Tokenizer,
    prompts: Sequence[Prompt],
    config: GenerateConfig,
    *,
    n_best: int,
    objective: Mapping[str, object] = NEXT_TOKEN,
    engines: EngineSource | None = None,
) -> Iterator[list[RankedText]]:
    """The best `n_best` texts of each prompt, best first; fewer where there are no more. Prompt after prompt.

    `engines` hears which backend serves; searches have one of their own.

    Raises:
        GenerationError: as `generate_text`, and for settings that ask for no search, or for more texts than its width.
    """
    check_search(config, n_best)
    check_requests(model, tokenizer, prompts, config, objective=objective)
    decoder = choose_decoder(config, tokenizer, objective, engines=engines)
    assert isinstance(decoder, BeamDecoder)
    ids = [encode_prompt(tokenizer, each) if isinstance(each, str) else list(each) for each in prompts]
    in_ids = bool(prompts) and not isinstance(prompts[0], str)
    searches = decoder.search(
        model,
        ids,
        max_new_tokens=config.max_new_tokens,
        stop_ids=stop_ids(tokenizer, of_template=in_ids),
        n_best=n_best,
    )
    texts = [each if isinstance(each, str) else tokenizer.decode(each) for each in prompts]
    return _ranked(tokenizer, config, list(zip(texts, ids, strict=True)), searches)


def _ranked(
    tokenizer: Tokenizer,
    config: GenerateConfig,
    prompts: Sequence[tuple[str, Sequence[int]]],
    searches: Iterator[list[Hypothesis]],
) -> Iterator[list[RankedText]]:
    for prompt, ids in prompts:
        started = time.perf_counter()
        best = next(searches)
        seconds = time.perf_counter() - started
        yield [
            RankedText(
                generation=_generation(tokenizer, config, hypothesis, prompt, ids, seconds),
                rank=rank,
                score=hypothesis.score,
            )
            for rank, hypothesis in enumerate(best, start=1)
        ]


def check_search(config: GenerateConfig, n_best: int) -> None:
    """Refuse settings that ask for no search, or for more texts than one keeps.

    Raises:
        GenerationError: naming them.
    """
    if config.strategy != "beam":
        raise GenerationError(
            f'the {n_best} best texts are found by generate.strategy = "beam"; set it, or draw texts with other seeds'
        )
    if n_best > config.beam.width:
        raise GenerationError(
            f"the {n_best} best texts were asked for, and generate.beam.width = {config.beam.width} keeps fewer; ask "
            "for at most so many, or widen it"
        )


def _generation(
    tokenizer: Tokenizer, config: GenerateConfig, found: Hypothesis, prompt: str, ids: Sequence[int], seconds: float
) -> Generation:
    row = RowText(tokenizer, config.stop, after=ids)
    row.push(
        TokenChunk(
            tokens=torch.tensor([found.tokens]),
            finished=torch.tensor([True]),
            reasons=(found.reason,),
            logprobs=torch.tensor([found.logprobs]),
        ),
        0,
    )
    return Generation(
        prompt=prompt,
        text=row.text,
        tokens=found.tokens,
        logprobs=found.logprobs,
        finish_reason=found.reason,
        prompt_tokens=len(ids),
        prompt_tokens_dropped=0,
        seconds=seconds,
    )
