"""`[eval.samples]`: what texts `hornbook eval samples` has made and measured."""

from pathlib import Path

from pydantic import PositiveInt

from hornbook.config.table import Table


class SamplesConfig(Table):
    """Texts are made as `[generate]` says, of its prompts or else of train.sample_prompts."""

    number: PositiveInt = 20
    """Texts a prompt, of seeds generate.seed, one more, ...; greedy and beam search make one."""
    file: Path | None = None
    """Measure the texts of this file instead, JSON lines of `hornbook generate`."""
    judge: Path | None = None
    """A checkpoint that says how surprised it is by the texts."""
    training_tokens: PositiveInt = 20_000_000
    """Copies and words are looked for among so many first tokens of the training split; of a mixture, of
    all its data sets together, as evenly as these allow."""
