"""The least possible loss of a run on text of known entropy: what no model can stay below.

A window of T tokens costs at least its entropy H(X_1 .. X_T). Next-token prediction reads one token more and is not
asked for the first, so its T targets cost at least H(X_1 .. X_(T+1)) - H(X_1); the validation loss of joint training is
this one too. Both per token, in nats. A validation that masks no less than some share stays above, even at its best.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress

from pydantic import ValidationError

from hornbook.config.data import SyntheticSource
from hornbook.config.objective import BOUND_ALONE
from hornbook.data.synthetic import MarkovSource
from hornbook.errors import HornbookError

_CUT_WHOLE = {
    "data.source.kind": "synthetic",
    "tokenizer.kind": "characters",
    "data.end_of_text": False,
    "data.split": "documents",
}


def least_loss(settings: Mapping[str, object], *, of_bound: bool | None = None) -> float | None:
    """Nats a token for the settings {dotted key: value} of a run; None where it is not known.

    It is known for a synthetic source whose symbols are tokens and whose documents are cut into whole windows.
    `of_bound`: of all tokens of a window, or else of the next ones; by default what the run's validation is of.
    """
    context = settings.get("model.context_length")
    if not isinstance(context, int) or any(settings.get(key) != value for key, value in _CUT_WHOLE.items()):
        return None
    if any(key.startswith("data.valid.") for key in settings):
        return None
    prefix = "data.source."
    chosen = {name.removeprefix(prefix): value for name, value in settings.items() if name.startswith(prefix)}
    with suppress(ValidationError, HornbookError):
        source = MarkovSource(SyntheticSource.model_validate(chosen))
        if source.config.document_length % context:
            return None
        if is_bounded(settings) if of_bound is None else of_bound:
            return source.entropy_nats(context) / context
        return (source.entropy_nats(context + 1) - source.entropy_nats(1)) / context
    return None


def objective_of(settings: Mapping[str, object]) -> str:
    """What a run was trained for; runs that do not say are older than the second objective."""
    return str(settings.get("objective.kind", "next_token"))


def loss_unit(runs: Iterable[Mapping[str, object]]) -> str:
    """What losses are measured in, by the settings of their runs."""
    of_pairs = {objective_of(settings) == "preference" for settings in runs}
    return (
        "a pair"
        if of_pairs == {True}
        else "nats a token, of preferences a pair"
        if True in of_pairs
        else "nats a token"
    )


def is_bounded(settings: Mapping[str, object]) -> bool:
    """Whether the validation loss of a run is a bound: at most."""
    return objective_of(settings) in BOUND_ALONE
