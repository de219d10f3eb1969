"""`[eval.harness]`: which tasks `hornbook eval harness` puts to a checkpoint, and where their files lie."""

from pathlib import Path

from pydantic import PositiveInt

from hornbook.config.table import Table


class HarnessConfig(Table):
    """Tasks of choices and of last words, by lm-eval or by our own scorer."""

    tasks: tuple[str, ...] = ()
    """blimp, lambada, hellaswag, arc_easy; choices and cloze for questions of one's own."""
    data: Path | None = None
    """The directory with the tasks' files, or the file of a single task."""
    native: bool = False
    """Score with hornbook's own scorer, without lm-eval; the numbers are the same."""
    limit: PositiveInt | None = None
    """Only the first so many questions of each file."""
    cache: bool = True
    """Keep what each text has scored in the user's cache, so that the same question is asked once."""
    batch_tokens: PositiveInt = 2048
    """Tokens read at a time; changes speed and memory only."""
