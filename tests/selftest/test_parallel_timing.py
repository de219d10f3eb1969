"""Two real processes measure a step and its parts. What they find differs with the load; its sense does not."""

import math

import pytest

from hornbook.config.load import load_config
from hornbook.distributed.buckets import plan
from hornbook.errors import ConfigError
from hornbook.models.transformer import Transformer
from hornbook.planning.calibration import fit_link, predictions
from hornbook.planning.overlap import bucket_sizes
from hornbook.planning.tables import measured_lines, prediction_lines
from hornbook.selftest.parallel_timing import measure
from hornbook.selftest.step_parts import SUM_BYTES

SETTINGS = {
    "run": {"device": "cpu", "threads": 1},
    "model": {"n_layers": 2, "d_model": 32, "n_heads": 2, "context_length": 16, "vocab_size": 100},
    "train": {"tokens_per_step": 64, "micro_batch_size": 1, "compile": "off"},
}


@pytest.fixture(scope="module")
def config():
    return load_config(None, values=SETTINGS).config


@pytest.mark.medium
def test_two_processes_measure_all_that_the_model_needs(config, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    measured = measure(config, n=2, buckets_mb=(0.01, 0.0), repeats=2)
    model = Transformer(config.model.complete(vocab_size=100))
    assert measured.n == 2
    assert measured.compute.micro_batches == 2  # 64 tokens are 4 windows of 16, two for each process
    assert measured.compute.n_bytes == 4 * model.n_parameters
    assert len(measured.compute.backward) == len([*model.parameters()])
    assert [each.n_bytes for each in measured.sums] == list(SUM_BYTES)
    assert fit_link(measured.sums, 2).bandwidth > 0
    found = predictions(measured)
    assert [(step.measured.bucket_bytes > 0, step.measured.shard_optimizer) for step in found] == [
        (True, False),
        (True, True),
        (False, False),
        (False, True),
    ]
    assert found[0].buckets > found[2].buckets == 1
    for each in found:
        assert each.seconds > 0 < each.measured.seconds
        assert math.isfinite(each.error)
    assert len(measured_lines(measured) + prediction_lines(found)) == 5 + 5


@pytest.mark.parametrize("limit", [0, 1, 5_000, 60_000])
def test_the_model_s_buckets_are_those_that_training_makes(config, limit):
    parameters = [*Transformer(config.model.complete(vocab_size=100)).parameters()]
    made = plan(parameters, limit=limit, owner=lambda parameter: 0)
    sizes = [parameter.nbytes for parameter in reversed(parameters)]
    modelled = [[sizes[number] for number in bucket] for bucket in bucket_sizes(sizes, limit)]
    assert modelled == [[parameter.nbytes for parameter in bucket.parameters] for bucket in made]


def test_a_vocabulary_must_be_named():
    with pytest.raises(ConfigError, match=r"model.vocab_size is not set.*--set model.vocab_size=32768"):
        measure(load_config(None).config)
