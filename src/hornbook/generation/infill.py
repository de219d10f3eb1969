"""Filling holes inside a text: "Once <|mask:20|> the end" has a hole of 20 tokens, and <|mask|> is one of a single one.

What stands around a hole is encoded piece by piece, and is read from both sides; a hole gets no special tokens, which
would end or divide the text.
"""

import re
import time
from collections.abc import Callable, Generator, Mapping, Sequence

from hornbook.config.generate import GenerateConfig
from hornbook.errors import GenerationError
from hornbook.generation.block_diffusion import BlockDiffusion
from hornbook.generation.choice import NEXT_TOKEN, choose_decoder
from hornbook.generation.decoder import NO_TOKEN, TokenChunk
from hornbook.generation.denoising import DenoiseStep
from hornbook.generation.prompt_ids import begin, check_vocabulary
from hornbook.generation.text import Generation
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer

_HOLE = re.compile(r"<\|mask(?::([^|<>]*))?\|>")
_NUMBER = re.compile(r"0*[1-9][0-9]{0,5}")  # no more digits: holes are laid out before they are measured


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
    rows = [encode_template(tokenizer, template) for template in templates]
    seeds = [config.seed] * len(rows) if seeds is None else seeds
    chunks = _decoding(model, tokenizer, rows, config, objective=objective, seeds=seeds, on_step=on_step)
    started = time.perf_counter()
    filled: list[list[tuple[int, float]]] = [[] for _ in rows]
    for chunk in chunks:
        for own, tokens, logprobs in zip(filled, chunk.tokens.tolist(), chunk.logprobs.tolist(), strict=True):
            own += [pair for pair in zip(tokens, logprobs, strict=True) if pair[0] != NO_TOKEN]
    seconds = time.perf_counter() - started
    return [
        _generation(tokenizer, template, row, own, seconds)
        for template, row, own in zip(templates, rows, filled, strict=True)
    ]


def check_infills(
    model: Transformer,
    tokenizer: Tokenizer,
    templates: Sequence[str],
    config: GenerateConfig,
    *,
    objective: Mapping[str, object],
) -> None:
    """Refuse what `infill_text` would refuse before it reads the model.

    Raises:
        GenerationError: as `infill_text`.
    """
    rows = [encode_template(tokenizer, template) for template in templates]
    _decoding(model, tokenizer, rows, config, objective=objective, seeds=[config.seed] * len(rows), on_step=None)


def _decoding(
    model: Transformer,
    tokenizer: Tokenizer,
    rows: Sequence[Sequence[int | None]],
    config: GenerateConfig,
    *,
    objective: Mapping[str, object],
    seeds: Sequence[int],
    on_step: Callable[[DenoiseStep], None] | None,
) -> Generator[TokenChunk, None, None]:
    """The holes' tokens; everything is checked when this returns, and nothing is read before the first chunk."""
    decoder = choose_decoder(config, tokenizer, objective, on_step=on_step)
    if not isinstance(decoder, BlockDiffusion):
        raise GenerationError(
            "infilling needs a model that sees both sides of a hole, and this one is decoded from left to right; train "
            'with objective.kind = "masked_diffusion" (of kind "joint", set generate.decoder = "diffusion")'
        )
    check_vocabulary(model, tokenizer)
    return decoder.infill(model, rows, seeds=seeds, never=tokenizer.special_tokens.values())


def encode_template(tokenizer: Tokenizer, template: str) -> list[int | None]:
    """Ids of the text, None for each token of a hole.

    Raises:
        GenerationError: for a hole that does not say how many tokens are missing.
    """
    tokens: list[int | None] = []
    at = 0
    for hole in _HOLE.finditer(template):
        tokens += [*_piece(tokenizer, template, at, hole.start()), *[None] * _missing(hole)]
        at = hole.end()
    return [*tokens, *_piece(tokenizer, template, at, len(template))]


def _piece(tokenizer: Tokenizer, template: str, start: int, end: int) -> list[int]:
    """Ids of a part of the text; what every text begins with stands before the first."""
    piece = template[start:end]
    return tokenizer.encode(piece) if start else begin(tokenizer, piece)


def _missing(hole: re.Match[str]) -> int:
    number = "1" if hole[1] is None else hole[1]
    if not _NUMBER.fullmatch(number):
        raise GenerationError(
            f"{hole[0][:40]} is no hole, which has a number from 1 to 999999; write <|mask:20|> where 20 tokens are "
            "missing"
        )
    return int(number)


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
