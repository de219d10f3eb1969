"""`hornbook eval preference`: whether a model prefers chosen answers more than its reference does, pair by pair."""

import time

import numpy as np

from hornbook.config.objective import averages, preference_of
from hornbook.config.run import Config
from hornbook.evaluation.candidate import Candidate, check_comparable, fit, how_measured, nats_of
from hornbook.evaluation.perplexity import ScoreProgress
from hornbook.evaluation.preference_card import PreferenceCard, Side
from hornbook.evaluation.prompts import open_tuning, prompts_in_train, read_pairs
from hornbook.evaluation.streams import open_dataset


def evaluate_preference(
    policy: Candidate, reference: Candidate, config: Config, *, progress: ScoreProgress | None = None
) -> PreferenceCard:
    """The card of `policy` on split config.eval.split of the pairs at config.data.path.

    Raises:
        DataError: for data of another stage or tokenizer, and answers longer than a model's context.
        ConfigError: for a reference that is measured otherwise.
        GenerationError: if a token's nll is not finite.
    """
    started = time.perf_counter()
    dataset, split = open_dataset(config), config.eval.split
    pairs = read_pairs(open_tuning(dataset, split, "dpo", measure="preference"))
    policy, reference = fit(policy, dataset), fit(reference, dataset)
    check_comparable(policy, reference, name="--reference")
    both = [answer for pair in pairs for answer in pair]
    ours, theirs = (-nats_of(each, both, config.eval, progress=progress) for each in (policy, reference))
    tokens = np.array([float(each.trained.sum()) for each in both])
    chosen, rejected = (
        Side(policy=ours[first::2], reference=theirs[first::2], tokens=tokens[first::2]) for first in (0, 1)
    )
    return PreferenceCard(
        tokenizer_fingerprint=policy.tokenizer.fingerprint,
        checkpoint=policy.checkpoint,
        step=policy.step,
        data=f"{dataset.path} [{split}], {len(pairs)} pairs",
        seconds=time.perf_counter() - started,
        objective=policy.kind,
        is_bound=policy.is_bound,
        how=how_measured(policy, config.eval),
        tokens_added=policy.tokens_added,
        prompts_in_train=prompts_in_train(dataset, split, [first for first, _ in pairs], every=2),
        pairs=len(pairs),
        reference=reference.checkpoint,
        reference_tokens_added=reference.tokens_added,
        trained_by_token=averages(preference_of(policy.objective)),
        chosen=chosen,
        rejected=rejected,
    )
