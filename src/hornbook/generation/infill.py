"""Filling holes inside a text: "Once <|mask:20|> the end" has a hole of 20 tokens, and <|mask|> is one of a single one.

What stands around a hole is encoded piece by piece, and is read from both sides; a hole gets no special tokens, which
would end or divide the text.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence

from hornbook.config.generate import GenerateConfig
from hornbook.errors import GenerationError
from hornbook.generation.block_diffusion import BlockDiffusion
from hornbook.generation.choice import NEXT_TOKEN, choose_decoder
from hornbook.generation.decoder import NO_TOKEN
from hornbook.generation.denoising import DenoiseStep
from hornbook.generation.text import Generation, check_vocabulary, encode_prompt
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer

_HOLE = re.compile(r"<\|mask(?::(\d+))?\|>")


def infill_text(
    model: Transformer,
    tokenizer: Tokenizer,
    templates: Sequence[str],
    config: GenerateConfig,
    *,
    objective: Mapping[str, object] = NEXT_TOKEN,
    seeds: Sequence[int] | None = None,
    on_step: Callable[[DenoiseStep], None] | None = None,
) -> list[Generation]:
    """Each template with its holes filled; `text` is the whole of it, `tokens` are those of the holes.

    The number of new tokens is that of the holes: config.max_new_tokens, config.stop and config.prompts are not read.

    Raises:
        GenerationError: for a model that cannot see both sides of a hole, a text without holes, one that is longer than
            the context, and whatever the decoder refuses.
    """
    decoder = choose_decoder(config, tokenizer, objective, on_step=on_step)
    if not isinstance(decoder, BlockDiffusion):
        raise GenerationError(
            "infilling needs a model that sees both sides of a hole, and this one is decoded from left to right; train "
            'with objective.kind = "masked_diffusion" (of kind "joint", set generate.decoder = "diffusion")'
        )
    check_vocabulary(model, tokenizer)
    rows = [encode_template(tokenizer, template) for template in templates]
    seeds = [config.seed] * len(rows) if seeds is None else seeds
    started = time.perf_counter()
    filled: list[list[tuple[int, float]]] = [[] for _ in rows]
    for chunk in decoder.infill(model, rows, seeds=seeds, never=tokenizer.special_tokens.values()):
        for own, tokens, logprobs in zip(filled, chunk.tokens.tolist(), chunk.logprobs.tolist(), strict=True):
            own += [pair for pair in zip(tokens, logprobs, strict=True) if pair[0] != NO_TOKEN]
    seconds = time.perf_counter() - started
    return [
        _generation(tokenizer, template, row, own, seconds)
        for template, row, own in zip(templates, rows, filled, strict=True)
    ]


def encode_template(tokenizer: Tokenizer, template: str) -> list[int | None]:
    """Ids of the text, None for each token of a hole.

    Raises:
        GenerationError: for a hole of no tokens.
    """
    tokens: list[int | None] = []
    at = 0
    for hole in _HOLE.finditer(template):
        count = int(hole[1] or 1)
        if count == 0:
            raise GenerationError(f"{hole[0]} is a hole of no tokens; write <|mask:20|> where 20 tokens are missing")
        tokens += [*_piece(tokenizer, template[at : hole.start()], first=at == 0), *[None] * count]
        at = hole.end()
    return [*tokens, *_piece(tokenizer, template[at:], first=at == 0)]


def _piece(tokenizer: Tokenizer, text: str, *, first: bool) -> list[int]:
    if not text:
        return []
    return encode_prompt(tokenizer, text) if first else tokenizer.encode(text)


def _generation(
    tokenizer: Tokenizer,
    template: str,
    row: Sequence[int | None],
    filled: Sequence[tuple[int, float]],
    seconds: float,
) -> Generation:
    new = iter(filled)
    whole = [next(new)[0] if token is None else token for token in row]
    return Generation(
        prompt=template,
        text=tokenizer.decode(whole, skip_special=True),
        tokens=tuple(token for token, _ in filled),
        logprobs=tuple(logprob for _, logprob in filled),
        finish_reason="length",
        prompt_tokens=len(row) - len(filled),
        prompt_tokens_dropped=0,
        seconds=seconds,
    )
