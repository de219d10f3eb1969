"""Where a run's configuration says other things of its conversations or pairs than they were prepared with.

Training reads what was prepared: labels, template and the lengths of rows stay those of the data until they are
prepared again, whatever a file says by then.
"""

from collections.abc import Iterator

from hornbook.config.run import Config
from hornbook.data.dataset import Dataset
from hornbook.data.mixture import Mixture
from hornbook.data.rendering import LOST_TURNS, TOO_LONG
from hornbook.errors import TokenizerError
from hornbook.tokenizer.chat_template import load_template
from hornbook.tokenizer.tokenizer import Tokenizer

_AGAIN = "prepare them again: hornbook data prepare CONFIG --force"


def otherwise_prepared(config: Config, data: Mixture, start: Tokenizer | None) -> list[str]:
    """A line for people for each such setting, and where a model that speaks one template gets data of another.

    `start`: the tokenizer of what the run starts from, if it starts from something that has one.
    """
    if config.data.stage == "pretrain":
        return []
    lines = [line for dataset in data.datasets for line in _lines(config, dataset)]
    return lines if start is None else [*lines, *_other_template(config, data, start)]


def _other_template(config: Config, data: Mixture, start: Tokenizer) -> Iterator[str]:
    if start.chat_template in (None, data.tokenizer().chat_template):
        return
    yield (
        f"model.init_from = {config.model.init_from} was tuned with another chat template than {data.words} was "
        "prepared with: what it knows of the one it does not know of the other; name its template in [chat] and "
        + _AGAIN
    )


def _lines(config: Config, dataset: Dataset) -> Iterator[str]:
    made, path = dataset.index.made_from, dataset.path
    tuning = made.get("tuning")
    train_on = tuning.get("train_on") if isinstance(tuning, dict) else None
    if train_on is not None and train_on != config.data.tuning.train_on:
        yield (
            f'data.tuning.train_on = "{config.data.tuning.train_on}", but {path} was prepared with "{train_on}", which '
            f"is what is trained; {_AGAIN}"
        )
    template = made.get("chat template")
    if template is not None and template != _template(config, template):
        yield f"[chat] says another template than {path} was prepared with, which is what is trained; {_AGAIN}"
    length, n_cut = made.get("model.context_length"), _n_cut(dataset)
    if isinstance(length, int) and length < config.model.context_length and n_cut:
        yield (
            f"{path} was prepared for rows of {length} tokens, where {n_cut:,} conversations or pairs were cut or left "
            f"out, and model.context_length = {config.model.context_length}; {_AGAIN}"
        )


def _template(config: Config, otherwise: object) -> object:
    """That of `[chat]` as plans hold it; `otherwise` where its file is not here."""
    try:
        return load_template(config.chat).model_dump(mode="json")
    except TokenizerError:
        return otherwise


def _n_cut(dataset: Dataset) -> int:
    dropped = dataset.index.skipped.get(TOO_LONG)
    return (dropped.count if dropped else 0) + dataset.index.notes.get(LOST_TURNS, 0)
