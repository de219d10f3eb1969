"""`hornbook eval answers`: how surprised a model is by held-out answers, and how often it gives them itself."""

import time
from dataclasses import replace

import numpy as np

from hornbook.config.run import Config
from hornbook.errors import DataError
from hornbook.evaluation.answers_card import AnswersCard
from hornbook.evaluation.candidate import Candidate, check_comparable, fit, how_measured, nats_of
from hornbook.evaluation.exact_match import exact_match
from hornbook.evaluation.intervals import mean, ratio
from hornbook.evaluation.perplexity import ScoreProgress
from hornbook.evaluation.prompts import open_tuning, prompts_in_train, read_conversations
from hornbook.evaluation.streams import open_dataset


def evaluate_answers(
    candidate: Candidate, config: Config, *, base: Candidate | None = None, progress: ScoreProgress | None = None
) -> AnswersCard:
    """The card of a model on split config.eval.split of the conversations at config.data.path.

    With config.eval.exact_match it answers the first so many prompts itself, decoded as config.generate says. `base` is
    measured on the same tokens.

    Raises:
        DataError: for data of another stage or tokenizer, and conversations longer than a model's context.
        ConfigError: for a base that is measured otherwise.
        GenerationError: as `nats_of` and `exact_match`.
    """
    started = time.perf_counter()
    dataset, split = open_dataset(config), config.eval.split
    conversations = list(read_conversations(open_tuning(dataset, split, "sft", measure="answers")))
    if not conversations:
        raise DataError(f"{dataset.path} [{split}]: no answer to measure; prepare again with more conversations")
    candidate = fit(candidate, dataset)
    lengths = candidate.tokenizer.byte_lengths()
    tokens = np.array([int(each.trained.sum()) for each in conversations])
    n_bytes = sum(int(lengths[each.tokens[each.trained]].sum()) for each in conversations)
    nats = nats_of(candidate, conversations, config.eval, progress=progress)
    asked = conversations[: config.eval.exact_match]
    card = AnswersCard(
        tokenizer_fingerprint=candidate.tokenizer.fingerprint,
        checkpoint=candidate.checkpoint,
        step=candidate.step,
        data=f"{dataset.path} [{split}], {len(conversations)} conversations",
        seconds=0.0,
        objective=candidate.kind,
        is_bound=candidate.is_bound,
        how=how_measured(candidate, config.eval),
        tokens_added=candidate.tokens_added,
        prompts_in_train=prompts_in_train(dataset, split, conversations),
        conversations=len(conversations),
        answer_tokens=int(tokens.sum()),
        answer_bytes=n_bytes,
        per_token=ratio(nats, tokens),
        per_conversation=mean(nats),
        match=exact_match(candidate, asked, config.eval, config.generate, progress=progress) if asked else None,
    )
    if base is not None:
        base = fit(base, dataset)
        check_comparable(candidate, base, name="--base")
        before = nats_of(base, conversations, config.eval, progress=progress)
        card = replace(
            card,
            base=base.checkpoint,
            base_tokens_added=base.tokens_added,
            base_per_token=ratio(before, tokens),
            to_base=ratio(nats, before),
        )
    return replace(card, seconds=time.perf_counter() - started)
