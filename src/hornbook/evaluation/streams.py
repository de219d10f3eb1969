"""What `[eval]` asks to score, as one token stream: text files, or a split of a prepared data set."""

import numpy as np

from hornbook.config.data import DataConfig, TextSource
from hornbook.config.run import Config
from hornbook.data.dataset import Dataset
from hornbook.data.known_truth import KnownTruth, known_truth
from hornbook.data.sources import SourceReport, open_source
from hornbook.errors import DataError
from hornbook.evaluation.token_reader import InMemory, TokenReader
from hornbook.tokenizer.tokenizer import Tokenizer


def open_stream(config: Config, tokenizer: Tokenizer | None) -> tuple[TokenReader, str]:
    """The stream that config.eval names, and its description for the card.

    eval.text: the files' texts, each file a document, and the end-of-text token (if there is one) after every document,
    as in training. Otherwise the split eval.split of the data set at data.path.

    Raises:
        DataError: if the text or the data set is missing or empty, or was prepared with another tokenizer.
    """
    if config.eval.text:
        if tokenizer is None:
            raise DataError("eval.text: the checkpoint holds no tokenizer to encode text with; score a prepared split")
        return _encode(TextSource(paths=config.eval.text), tokenizer), ", ".join(map(str, config.eval.text))
    dataset = open_dataset(config)
    if tokenizer is not None:
        dataset.check_tokenizer(tokenizer)
    stream = dataset.split(config.eval.split)
    of_stage = "" if dataset.stage == "pretrain" else f" of stage {dataset.stage}, every token of them"
    return stream, f"{config.data.path} [{config.eval.split}], {stream.n_documents} documents{of_stage}"


def open_truth(config: Config) -> KnownTruth | None:
    """What each token of the stream of `open_stream` costs at least, where that is known."""
    return None if config.eval.text else known_truth(open_dataset(config), config.eval.split)


def open_dataset(config: Config) -> Dataset:
    """The data set at data.path.

    Raises:
        DataError: if there is none, or a mixture of several is named instead.
    """
    if config.data.mixture and config.data.path == DataConfig().path:
        raise DataError(
            f"eval scores one data set, and data.mixture names {len(config.data.mixture)}; say which: "
            f"--set 'data.path=\"{config.data.mixture[0]}\"'"
        )
    return Dataset.open(config.data.path)


def _encode(source: TextSource, tokenizer: Tokenizer) -> InMemory:
    report = SourceReport()
    end = [] if tokenizer.end_of_text_id is None else [np.array([tokenizer.end_of_text_id])]
    documents = [
        np.concatenate([tokenizer.encode_batch([document.text])[0], *end])
        for document in open_source(source, on_error="skip", report=report)
    ]
    for problem in report.examples.values():  # a source advises of preparing data; here nothing may be left out
        raise DataError(f"eval.text: {problem.replace('data.source.paths', 'eval.text')}")
    if not documents:
        return InMemory(np.empty(0, dtype=np.int64))
    starts = np.cumsum([0, *map(len, documents[:-1])])
    return InMemory(np.concatenate(documents).astype(np.int64), starts)
