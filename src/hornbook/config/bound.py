"""`[eval.bound]`: how `hornbook eval bound` hides the tokens of a text from a diffusion model."""

from typing import Literal, Self

from pydantic import NonNegativeInt, PositiveInt, model_validator

from hornbook.config.table import Table

DEFAULT_DRAWS = 16


class BoundConfig(Table):
    """The likelihood bound of a diffusion model: a mean over ways to hide tokens."""

    estimator: Literal["fixed_count", "bernoulli", "exact"] = "fixed_count"
    """fixed_count hides a drawn number of tokens, evenly spread over the draws; bernoulli hides each token with a drawn
    probability, as training does: the same mean with more noise; exact reads every way there is (windows of at most 12
    tokens)."""
    draws: PositiveInt | None = None
    """Readings of each window. Default: 16. Not with exact."""
    seed: NonNegativeInt | None = None
    """The same seed hides the same tokens. Default: 0. Not with exact."""
    prompt: str = ""
    """What stands before `answer` and stays visible."""
    answer: str | None = None
    """Measure this text after `prompt`, and not a split or text files."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, value in (("draws", self.draws), ("seed", self.seed)):
            if self.estimator == "exact" and value is not None:
                raise ValueError(f'{name} = {value} has no effect with estimator = "exact"; leave it out')
        if self.prompt and self.answer is None:
            raise ValueError("prompt has no effect without answer; set answer to the text to measure after it")
        if self.answer == "":
            raise ValueError("answer is empty; give at least one character to measure")
        return self
