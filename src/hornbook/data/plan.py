"""What a preparation is to make, as JSON: equal plans make equal bytes, so a plan says whether work can be kept."""

import json
import sys
from collections.abc import Mapping

from hornbook.config.data import DataConfig, EmbeddedSource, HubSource, Source, TokensSource
from hornbook.config.run import Config
from hornbook.data.index import SplitName
from hornbook.data.sources import input_state
from hornbook.errors import DataError
from hornbook.storage.digest import bytes_sha256
from hornbook.tokenizer.tokenizer import Tokenizer

_DECISIVE = {
    "split",
    "valid_fraction",
    "test_fraction",
    "end_of_text",
    "max_documents",
    "max_tokens",
    "shard_tokens",
    "on_error",
}
"""Fields beside the sources that change what is written; the others say where, how fast, or how it is read."""
_READ_LATER = {"packing", "answer_padding"}
"""Fields of `[data.tuning]` that say how rows are read."""


def stages(config: DataConfig) -> list[tuple[SplitName, Source]]:
    """The sources in the order of reading: the main one as `train` (parts may be held out), then explicit ones."""
    found: list[tuple[SplitName, Source]] = [("train", config.source)]
    if config.valid is not None:
        found.append(("valid", config.valid))
    if config.test is not None:
        found.append(("test", config.test))
    return found


def held_out(config: DataConfig) -> tuple[float, float]:
    """The fractions of the main source for validation and testing; 0 where there is an explicit source."""
    return (
        config.valid_fraction if config.valid is None else 0.0,
        config.test_fraction if config.test is None else 0.0,
    )


def wanted_splits(config: DataConfig) -> list[SplitName]:
    """The splits that the data set will have, empty or not."""
    valid, test = held_out(config)
    splits: list[SplitName] = ["train"]
    if config.valid is not None or valid:
        splits.append("valid")
    if config.test is not None or test:
        splits.append("test")
    return splits


def make_plan(config: DataConfig, tokenizer: Tokenizer) -> dict[str, object]:
    """Everything that decides the content of the data set; not how fast it is made or where it lies.

    Raises:
        DataError: if the settings do not go together.
    """
    _check(config, tokenizer)
    plan: dict[str, object] = config.model_dump(mode="json", include=_DECISIVE)
    return {**plan, **_sources(config), "tokenizer": tokenizer.fingerprint}


def make_tuning_plan(config: Config, tokenizer: Tokenizer) -> dict[str, object]:
    """The same for conversations or pairs; `tokenizer` has the chat template that they are made with.

    Raises:
        DataError: if the settings do not go together.
    """
    assert tokenizer.chat_template is not None
    if config.data.split == "position" and any(held_out(config.data)):
        _check_position(config.data)
    plan: dict[str, object] = config.data.model_dump(mode="json", include={"stage", *_DECISIVE} - {"end_of_text"})
    plan["tuning"] = config.data.tuning.model_dump(mode="json", exclude=_READ_LATER)
    plan["model.context_length"] = config.model.context_length
    plan["chat template"] = tokenizer.chat_template.model_dump(mode="json")
    return {**plan, **_sources(config.data), "tokenizer": tokenizer.fingerprint}


def _sources(config: DataConfig) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, source in stages(config):
        field = "source" if name == "train" else name
        found[field] = source.model_dump(mode="json")
        found[f"input files of {field}"] = _state(source)
    return found


def differences(made: Mapping[str, object], wanted: Mapping[str, object]) -> str:
    """How two plans differ, in words; empty if they are equal."""
    names = [*wanted, *(name for name in made if name not in wanted)]
    return "; ".join(
        f"{name}: {_short(made.get(name))} there, {_short(wanted.get(name))} now"
        for name in names
        if made.get(name) != wanted.get(name)
    )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _state(source: Source) -> str:
    """What changes when the input does, though its configuration stays: sizes and times of files, or Python itself."""
    if isinstance(source, EmbeddedSource):
        return f"Python {sys.version.split()[0]}"
    files = input_state(source)
    digest = bytes_sha256(json.dumps(files).encode())[:16]
    return f"{len(files)} of {sum(size for _, size, _ in files)} bytes, {digest}"


def _check(config: DataConfig, tokenizer: Tokenizer) -> None:
    text_stages = [source for _, source in stages(config) if not isinstance(source, TokensSource)]
    if text_stages and config.end_of_text and tokenizer.end_of_text_id is None:
        raise DataError(
            "data.end_of_text = true, but this tokenizer has no <|endoftext|>; set data.end_of_text = false, "
            'or train one with tokenizer.special_tokens = "pretraining"'
        )
    if isinstance(config.source, TokensSource):
        _check_tokens(config)
    elif config.split == "position" and any(held_out(config)):
        _check_position(config)


def _check_position(config: DataConfig) -> None:
    if isinstance(config.source, HubSource):
        raise DataError('data.split = "position" reads the text twice, which a stream cannot; use "documents"')
    if config.max_tokens is not None:
        raise DataError(
            'data.max_tokens would cut off what data.split = "position" holds out at the end; use max_documents'
        )


def _check_tokens(config: DataConfig) -> None:
    if config.split == "documents" and any(held_out(config)):
        raise DataError(
            'a source of kind "tokens" is used where it lies, so its splits are ranges: set data.split = "position", '
            "or data.valid_fraction = 0 and an explicit data.valid"
        )
    if config.max_documents is not None:
        raise DataError('data.max_documents has no effect on a source of kind "tokens"; use data.max_tokens')
