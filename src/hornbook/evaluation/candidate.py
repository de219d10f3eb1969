"""A checkpoint that is measured by answers: how surprised it is by each, exactly or at most."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64

from hornbook.checkpoint.growth import grown
from hornbook.checkpoint.load import load_weights_into
from hornbook.config.bound import DEFAULT_DRAWS
from hornbook.config.generate import EvalConfig
from hornbook.config.model import ModelConfig
from hornbook.config.objective import BOUND_ALONE, likelihood_kind
from hornbook.data.dataset import Dataset
from hornbook.errors import ConfigError, DataError
from hornbook.evaluation.diffusion_bound import Reading, draw_of, draw_weights, score_readings
from hornbook.evaluation.noised_scorer import noised_scorer
from hornbook.evaluation.perplexity import ScoreProgress, refuse_broken
from hornbook.evaluation.prompts import Conversation
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.superset import joined
from hornbook.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model and where it came from."""

    model: Transformer
    tokenizer: Tokenizer
    """That of the data, once it fits them."""
    objective: Mapping[str, object]
    """What it was trained with, as its checkpoint holds it."""
    checkpoint: str = ""
    step: int | None = None
    tokens_added: int = 0
    """Ids of the data that its own tokenizer does not have, such as control tokens: their embeddings are new."""

    @property
    def kind(self) -> str:
        """Of the objective by which it is measured."""
        return likelihood_kind(self.objective)

    @property
    def is_bound(self) -> bool:
        """Whether its likelihood is known at most."""
        return self.kind in BOUND_ALONE


def fit(candidate: Candidate, dataset: Dataset) -> Candidate:
    """The candidate with the tokenizer of the data; a base model that lacks their control tokens gets rows for them.

    New rows are the mean of the old ones, as at the start of tuning (hornbook.checkpoint.growth).

    Raises:
        DataError: if the two tokenizers give an id different meanings, or the model cannot grow.
    """
    own, data, model = candidate.tokenizer, dataset.tokenizer(), candidate.model
    tokenizer = joined(own, data)
    dataset.check_tokenizer(tokenizer)
    added = tokenizer.vocab_size - own.vocab_size
    if not added:
        return replace(candidate, tokenizer=tokenizer)
    rows = max(model.config.vocab_size, tokenizer.vocab_size)
    if model.config.ngram_length > 1 and rows > model.config.vocab_size:
        raise DataError(
            f"{dataset.path}: has {added} tokens more than {candidate.checkpoint}, which cannot get them: where its "
            "n-grams lie depends on its vocab_size; measure a checkpoint that was tuned on such data"
        )
    weights = grown(model.state_dict(), known=own.vocab_size, tokens=tokenizer.vocab_size, rows=rows)
    shape = ModelConfig.model_validate({**model.config.model_dump(), "vocab_size": rows})
    with torch.device("meta"):
        larger = Transformer(shape)
    old = model.token_embedding.weight
    larger.to_empty(device=old.device).to(old.dtype)
    load_weights_into(larger, weights, candidate.checkpoint)
    return replace(candidate, model=larger.eval(), tokenizer=tokenizer, tokens_added=added)


def nats_of(
    candidate: Candidate,
    conversations: Sequence[Conversation],
    config: EvalConfig,
    *,
    progress: ScoreProgress | None = None,
) -> Float64[np.ndarray, " n"]:
    """-log p of the trained tokens of each conversation, each after all before it; of a diffusion model at most.

    A diffusion model sees all tokens but those, of which as many are hidden as config.bound says, by draws that depend
    on the seed and the number of the conversation alone: they are the same for every model.

    Raises:
        DataError: for a conversation that is longer than the model's context.
        GenerationError: if a token's nll is not finite.
    """
    _check_lengths(candidate, conversations)
    order = sorted(range(len(conversations)), key=lambda i: (len(conversations[i].tokens), i))
    in_order = [conversations[i] for i in order]
    measure = _bounds if candidate.is_bound else _exact
    nats = np.empty(len(order))
    nats[order] = measure(candidate, in_order, config, progress)
    return nats


def how_measured(candidate: Candidate, config: EvalConfig) -> str:
    """The protocol of `nats_of`, in words."""
    if not candidate.is_bound:
        return "every token of an answer, its stop token included, after all tokens before it"
    bound = config.bound
    draws = f"{bound.draws or DEFAULT_DRAWS} readings, seed {bound.seed or 0}"
    return (
        "diffusion bound, an upper bound in expectation: of the tokens of answers, stop tokens included, some are "
        f"hidden ({bound.estimator}, {'all ways' if bound.estimator == 'exact' else draws}), all others seen, so that "
        "how long an answer is is known"
    )


def _check_lengths(candidate: Candidate, conversations: Sequence[Conversation]) -> None:
    room = candidate.model.config.context_length + (not candidate.is_bound)
    for each in conversations:
        if len(each.tokens) > room:
            raise DataError(
                f"conversation {each.number} has {len(each.tokens)} tokens, the model of {candidate.checkpoint} reads "
                f"{room}; prepare the data with its model.context_length = {candidate.model.config.context_length}"
            )


@torch.no_grad()
def _exact(
    candidate: Candidate, conversations: Sequence[Conversation], config: EvalConfig, progress: ScoreProgress | None
) -> Float64[np.ndarray, " n"]:
    model, size = candidate.model.eval(), config.batch_size
    device = model.token_embedding.weight.device
    nats: list[float] = []
    for first in range(0, len(conversations), size):
        rows = conversations[first : first + size]
        width = max(len(row.tokens) for row in rows)
        tokens = np.zeros((len(rows), width), dtype=np.int64)  # filled on the right, where causal attention never looks
        asked = np.zeros((len(rows), width), dtype=bool)
        for place, row in enumerate(rows):
            tokens[place, : len(row.tokens)] = row.tokens
            asked[place, : len(row.tokens)] = row.trained
        read, wanted = torch.from_numpy(tokens).to(device), torch.from_numpy(asked).to(device)
        nll = model(read[:, :-1], targets=read[:, 1:], asked=wanted[:, 1:]).nll
        nats += nll.double().sum(dim=1).tolist()
        refuse_broken(nats[first:])
        if progress is not None:
            progress(len(nats), len(conversations))
    return np.array(nats)


def _bounds(
    candidate: Candidate, conversations: Sequence[Conversation], config: EvalConfig, progress: ScoreProgress | None
) -> Float64[np.ndarray, " n"]:
    seed = config.bound.seed or 0
    with noised_scorer(candidate.model, candidate.tokenizer, candidate.objective) as score:
        draw = draw_of(config.bound, score.block_length)

        def readings() -> Iterator[Reading]:
            for place, row in enumerate(conversations):
                for weights in draw_weights(draw, row.trained, seed, row.number):
                    yield Reading(place, row.tokens, weights)
                if progress is not None:
                    progress(place + 1, len(conversations))

        return score_readings(score, readings(), len(conversations), batch_size=config.batch_size)


def check_comparable(candidate: Candidate, other: Candidate, *, name: str) -> None:
    """Refuse to compare an exact likelihood with a bound.

    Raises:
        ConfigError: naming both kinds.
    """
    if candidate.is_bound != other.is_bound:
        raise ConfigError(
            f"{name} {other.checkpoint} was trained with {other.kind}, the checkpoint with {candidate.kind}: one of "
            "the two is measured at most, the other exactly, and their difference says nothing; choose one of the same "
            "kind"
        )
