"""Stages of text: a tokenizer beside its definition, shards beside their documents; and the sources of all stages."""

import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hornbook.checkpoint.save import save_checkpoint
from hornbook.config.data import SyntheticSource
from hornbook.config.load import load_config
from hornbook.config.run import Config
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.data.dataset import Dataset
from hornbook.data.order import SampleOrder
from hornbook.data.prepare import prepare
from hornbook.data.synthetic import SYMBOLS, MarkovSource
from hornbook.data.windows import Windows
from hornbook.models.transformer import Transformer
from hornbook.selftest.doctor_check import Check
from hornbook.tokenizer.tokenizer import Tokenizer

Values = dict[str, object]
"""Dotted keys of the configuration, and their values."""

SOURCE = SyntheticSource(order=1, n_symbols=8, n_documents=256, document_length=1024, concentration=0.3, seed=0)
"""A chain over eight letters, of which 1.43 nats a letter are not known from the one before; evenly drawn: 2.08."""

TEXTBOOK, TEXTBOOK_TOKENS = "aaabdaaabac", [b"aaab", b"d", b"aaab", b"a", b"c"]
"""Gage's example (The C Users Journal, 1994): aa, then a second ab, then both together are the most frequent pair."""

_LETTERS = (
    "etaoinshrdlu ETAOIN\n\t  0123456789.,'-\u00e9\u00fc\u0301\u05d0\u0645\u0928\u65e5\u672c\U0001f642\u200d\u2028\x00"
)


def tokenizer(folder: Path) -> list[Check]:
    """Merges and ids beside those of the textbook and of the definition in plain Python."""
    learnt = Tokenizer.train([TEXTBOOK], TokenizerConfig(vocab_size=259, special_tokens="none"))
    text = _strange_text()
    settings = TokenizerConfig(vocab_size=700)
    with _kernels("off"):
        defined = Tokenizer.train([text], settings)
        expected = defined.encode(text)
    with _kernels("on"):
        compiled = Tokenizer.train([text], settings)
        found = compiled.encode(text)
    compiled.save(folder / "tokenizer")
    back = Tokenizer.load(folder / "tokenizer").decode_bytes(found)
    original = text.encode()
    textbook = [learnt.token_bytes(token) for token in learnt.encode(TEXTBOOK)]
    return [
        Check(what=f"tokens of {TEXTBOOK} unlike the textbook's", value=_unlike(textbook, TEXTBOOK_TOKENS), truth=0),
        Check(what=f"of {len(expected):,} ids unlike the definition's", value=_unlike(found, expected), truth=0),
        Check(what=f"of {len(original):,} bytes back as other ones", value=_unlike(back, original), truth=0),
    ]


def data(folder: Path) -> list[Check]:
    """Documents in shards are the documents, and an epoch reads each window once."""
    config = markov_config(folder, {"data.end_of_text": True})
    prepared = markov_data(config)
    documents = Counter(MarkovSource(SOURCE).documents())
    read: Counter[bytes] = Counter()
    for name in prepared.splits:
        stream, decode = prepared.split(name), prepared.tokenizer().decode
        read += Counter(decode(stream.document(i), skip_special=True).encode() for i in range(stream.n_documents))
    tokens = sum(prepared.split(name).n_tokens for name in prepared.splits)
    train = prepared.split("train")
    windows = len(
        Windows(train, context_length=config.model.context_length, stride=config.model.context_length, lookahead=1)
    )
    order = SampleOrder(windows, seed=config.run.seed)
    epochs = [Counter(order.window(epoch * windows + i) for i in range(windows)) for epoch in range(2)]
    missed = sum(each[window] != 1 for each in epochs for window in range(windows))
    total = documents.total()
    return [
        Check(what=f"of {total} documents not in the shards as they were", value=(documents - read).total(), truth=0),
        Check(what="tokens in the shards", value=tokens, truth=total * (SOURCE.document_length + 1)),
        Check(what=f"of {windows:,} windows not read once in each of two epochs", value=missed, truth=0),
    ]


def configure(folder: Path, values: Values) -> Config:
    """What all stages have in common: a model of two layers, and nothing that is shown or kept."""
    common: Values = {
        "run.out_dir": str(folder / "runs"),
        "run.name": "doctor",
        "run.threads": 1,  # tensors are so small that a second thread would only be waited for
        "tokenizer.path": str(folder / "tokenizer"),
        "data.path": str(folder / "data"),
        "model": {"context_length": 64, "d_model": 32, "n_layers": 2, "n_heads": 2},
        "optim.learning_rate": 1e-2,
        "schedule": {"kind": "wsd", "warmup_steps": 10, "decay_fraction": 0.5},
        "train": {"steps": 100, "tokens_per_step": 2048, "micro_batch_size": 32, "eval_every": 0, "compile": "off"},
        "checkpoint": {"full_every": 0, "best": False},
        "eval": {"batch_size": 64, "max_tokens": 16_384},
        "tracking.console": "none",
    }
    return load_config(None, values={**common, **values}).config


def markov_config(folder: Path, values: Values) -> Config:
    """To learn the chain, a letter a token."""
    chain: Values = {
        "tokenizer.kind": "characters",
        "tokenizer.special_tokens": "pretraining",
        "data.source": SOURCE.model_dump(mode="json"),
        "data.end_of_text": False,
        "data.valid_fraction": 0.1,
    }
    return configure(folder, {**chain, **values})


def markov_data(config: Config) -> Dataset:
    """The chain's documents as a data set."""
    learnt = letters()
    learnt.save(config.tokenizer.path)
    return prepare(config.data, learnt)


def letters() -> Tokenizer:
    """The chain's alphabet, id i its i-th letter; then the special tokens."""
    return Tokenizer.train(
        [SYMBOLS[: SOURCE.n_symbols]], TokenizerConfig(kind="characters", special_tokens="pretraining")
    )


def plain_bytes() -> Tokenizer:
    """Ids are bytes, then the special tokens: nothing merges."""
    return Tokenizer.train([TEXTBOOK], TokenizerConfig(vocab_size=259, special_tokens="pretraining"))


def save_model(model: Transformer, tokenizer: Tokenizer, directory: Path) -> Path:
    """A checkpoint of its weights alone, in a new folder below `directory`."""
    return save_checkpoint(
        directory,
        step=0,
        kind="light",
        model_config=model.config,
        objective={"kind": "next_token"},
        weights=model.state_dict(),
        optimizer=None,
        state={"step": 0},
        tokenizer=tokenizer,
    )


def _strange_text() -> str:
    rng = random.Random(0)
    words = ["".join(rng.choices(_LETTERS, k=rng.randint(1, 9))) for _ in range(300)]
    return " ".join(rng.choices(words, k=4_000))


def _unlike(found: Sequence[object], expected: Sequence[object]) -> int:
    """At how many places they differ; what one of them lacks counts."""
    same = sum(one == other for one, other in zip(found, expected, strict=False))
    return max(len(found), len(expected)) - same


@contextmanager
def _kernels(choice: str) -> Iterator[None]:
    """Within, tokenizers compute by compiled code, or without."""
    before = os.environ.get("HORNBOOK_KERNELS")
    os.environ["HORNBOOK_KERNELS"] = choice
    try:
        yield
    finally:
        if before is None:
            del os.environ["HORNBOOK_KERNELS"]
        else:
            os.environ["HORNBOOK_KERNELS"] = before
