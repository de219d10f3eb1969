"""The least loss of each target, against entropies counted over every sequence of a small chain."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest

from hornbook import assemble
from hornbook.config.data import SyntheticSource
from hornbook.data.dataset import Dataset
from hornbook.data.known_truth import KnownTruth, known_truth, least_loss_of_windows
from hornbook.data.prepare import prepare
from hornbook.data.synthetic import MarkovSource
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tracking.jsonl import read_metrics
from tiny_project import load, make_project

SOURCE = MarkovSource(SyntheticSource(order=2, n_symbols=3, document_length=6, seed=4))
LENGTH = 6


@dataclass
class Stream:
    document_starts: np.ndarray
    n_tokens: int


def joint(known):
    """Probability of each way to begin a document, of so many symbols, straight from the chain."""
    found = {}
    for symbols in itertools.product(range(3), repeat=max(known, 2)):
        probability = SOURCE.stationary[3 * symbols[0] + symbols[1]]
        for at in range(2, len(symbols)):
            probability *= SOURCE.transitions[3 * symbols[at - 2] + symbols[at - 1], symbols[at]]
        found[symbols[:known]] = found.get(symbols[:known], 0.0) + probability
    return found


def entropy_given(place, first):
    """H(X_place | X_first .. X_place-1) within a document, by enumeration of all that lies before."""
    whole, nats = {}, 0.0
    for symbols, probability in joint(place + 1).items():
        seen = whole.setdefault(symbols[first:place], {})
        seen[symbols[place]] = seen.get(symbols[place], 0.0) + probability
    for after in whole.values():
        total = sum(after.values())
        nats -= sum(each * math.log(each / total) for each in after.values())
    return nats


@pytest.mark.parametrize("is_marked", [False, True])
def test_every_target_costs_its_conditional_entropy(is_marked):
    step = LENGTH + is_marked
    truth = KnownTruth(SOURCE, Stream(np.arange(3, dtype=np.uint64) * step, 3 * step), is_marked=is_marked)
    for place in range(3 * step):
        own, document = place % step, place // step * step
        for first in range(place + 1):
            found = truth.nats(np.array([place]), np.array([first]))
            if own == LENGTH:
                assert found == 0.0  # the end-of-text token comes when it must
            else:
                assert found == pytest.approx(entropy_given(own, max(0, first - document)), abs=1e-12)


def test_sums_are_over_all_targets():
    truth = KnownTruth(SOURCE, Stream(np.array([0], dtype=np.uint64), 9), is_marked=False)
    found = truth.nats(np.arange(9), np.zeros(9, dtype=np.int64))
    assert found == pytest.approx(SOURCE.entropy_nats(9))


TOML = """
[run]
name = "chain"
device = "cpu"
threads = 1
[tokenizer]
kind = "characters"
special_tokens = "{special}"
[data]
path = "data"
valid_fraction = 0.2
end_of_text = {marked}
[data.source]
kind = "synthetic"
order = 2
n_symbols = 3
n_documents = 40
document_length = 50
seed = 4
[model]
context_length = 16
d_model = 16
n_layers = 1
n_heads = 2
[objective]
kind = "{objective}"
[train]
steps = 2
tokens_per_step = 64
micro_batch_size = 2
eval_every = 1
eval_tokens = 128
[tracking]
console = "none"
"""


def prepared(folder, objective="next_token", special="pretraining", marked="false"):
    (folder / "chain.toml").write_text(TOML.format(objective=objective, special=special, marked=marked))
    config = load(folder / "chain.toml", run__out_dir=folder / "runs", data__path=folder / "data")
    tokenizer = Tokenizer.train(["abc"], config.tokenizer)
    prepare(config.data, tokenizer)
    return config


@pytest.mark.parametrize("marked", ["false", "true"])
def test_validation_windows_cost_what_their_tokens_cost(tmp_path, marked):
    config = prepared(tmp_path, marked=marked)
    dataset = Dataset.open(config.data.path)
    stream, step = dataset.split("valid"), 50 + (marked == "true")
    assert stream.n_tokens == step * stream.n_documents
    for lookahead in (0, 1):
        n = (stream.n_tokens - 16 - lookahead) // 16 + 1
        n += (stream.n_tokens - 16 - lookahead) % 16 > 0
        total = 0.0
        for number in (i * n // 8 for i in range(8)):
            start = min(16 * number, stream.n_tokens - 16 - lookahead)
            for place in range(start + lookahead, start + 16 + lookahead):
                known = min(place % step, place - start, 2)
                total += entropy_given(known, 0) * (place % step < 50)
        found = least_loss_of_windows(dataset, "valid", context_length=16, lookahead=lookahead, n_windows=8)
        assert found == pytest.approx(total / 128)


def test_nothing_is_known_of_other_text(tmp_path):
    config = load(make_project(tmp_path))
    dataset = Dataset.open(config.data.path)
    assert known_truth(dataset, "valid") is None
    assert least_loss_of_windows(dataset, "valid", context_length=4, lookahead=1, n_windows=1) is None


@pytest.mark.parametrize("objective", ["next_token", "masked_diffusion"])
def test_training_tells_the_excess(tmp_path, objective):
    config = prepared(tmp_path, objective)
    Tokenizer.load(config.data.path / "tokenizer").save(tmp_path / "tokenizer")
    run = assemble.train(config).run_dir
    lookahead = int(objective == "next_token")
    size = {"context_length": 16, "lookahead": lookahead, "n_windows": 8}
    least = least_loss_of_windows(Dataset.open(config.data.path), "valid", **size)
    told = [event for event in read_metrics(run.metrics_file) if event["event"] == "val"]
    assert len(told) == 2
    for event in told:
        assert event["val/excess"] == pytest.approx(event["val/loss"] - least)
        assert event["val/excess"] > 0
