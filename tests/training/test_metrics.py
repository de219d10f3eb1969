"""Averages by token, perplexity and bits per byte in closed form, speed against a known sleep."""

import math

import pytest
import torch

from hornbook.data.loader import Prefetcher
from hornbook.distributed.single import SingleProcess
from hornbook.training import trainer
from hornbook.training.hooks import Log
from hornbook.training.metrics import Averages, add_sums, peak_memory_bytes, perplexity, readable, total_sums
from training.rig import TOKENS, Clock, Listener, build_learner, build_trainer

CPU = torch.device("cpu")


def test_a_uniform_model_has_the_vocabulary_as_perplexity() -> None:
    # 256 equally likely tokens of one byte each are eight bits a byte.
    values = readable({"nll": (100 * math.log(256.0), 100.0), "bytes": (100.0, 100.0)})
    assert values == {"perplexity": pytest.approx(256.0), "bits_per_byte": pytest.approx(8.0)}


def test_special_tokens_have_no_bytes_and_still_cost() -> None:
    assert readable({"nll": (math.log(2.0), 2.0), "bytes": (0.0, 2.0)}) == {"perplexity": pytest.approx(math.sqrt(2))}


def test_averages_are_weighted_by_tokens() -> None:
    averages = Averages()
    averages.add({"loss": (2.0, 1.0), "z": (4.0, 1.0)}, tokens=10, seconds=0.5)
    averages.add({"loss": (99 * 1.0, 99.0)}, tokens=30, seconds=1.5)
    averages.add({}, tokens=40, seconds=2.0)
    assert averages.values() == {
        "loss": pytest.approx(1.01),
        "z": 4.0,
        "tokens_per_second": pytest.approx(20.0),
        "data_wait": 0.0,
    }
    averages.reset()
    assert averages.values() == {}


def test_sums_add_by_name() -> None:
    assert add_sums({"a": (1.0, 2.0)}, {"a": (3.0, 4.0), "b": (5.0, 6.0)}) == {"a": (4.0, 6.0), "b": (5.0, 6.0)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_micro_batches_add_up(dtype: torch.dtype) -> None:
    outputs = [{"x": (torch.tensor(value, dtype=dtype), torch.tensor(1.0))} for value in (0.5, 0.25)]
    assert total_sums(outputs, SingleProcess()) == {"x": (0.75, 2.0)}


def test_perplexity_of_a_lost_model_is_infinite() -> None:
    assert perplexity(1e4) == math.inf
    assert math.isnan(perplexity(math.nan))


def test_peak_memory_only_grows_and_is_in_bytes() -> None:
    pytest.importorskip("resource")
    before = peak_memory_bytes(CPU)
    block = bytearray(b"x") * 60_000_000
    after = peak_memory_bytes(CPU)
    assert 1e7 < before <= after < 1e11
    assert len(block) == 60_000_000


def test_tokens_per_second_is_that_of_the_steps_without_the_hooks() -> None:
    clock, listener, learner = Clock(), Listener(), build_learner()
    learner.model.register_forward_pre_hook(lambda module, inputs: clock.spend(0.05))  # two micro-batches a step
    log = Log(listener, every=4, device=CPU, flops_per_token=6e6, peak_flops=1e12)
    build_trainer(learner, steps=8, hooks=[log, lambda at: clock.spend(5.0)], clock=clock).run()
    speeds = listener.values("train", "train/tokens_per_second")
    assert speeds == pytest.approx([TOKENS / 0.1] * 2)
    assert listener.values("train", "train/mfu") == pytest.approx([speed * 6e6 / 1e12 for speed in speeds])
    # Four steps took 0.4 s and three pauses; four steps are left.
    assert listener.values("train", "train/seconds_left") == pytest.approx([0.4 + 3 * 5.0, 0.0])


def test_the_share_of_waiting_is_that_of_the_time_before_a_step_has_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, listener = Clock(), Listener()
    take, work = Prefetcher.__next__, trainer.train_step

    def slow_take(stream: Prefetcher) -> object:
        clock.spend(1.0)
        return take(stream)

    def slow_work(*args: object, **settings: object) -> object:
        clock.spend(3.0)
        return work(*args, **settings)

    monkeypatch.setattr(Prefetcher, "__next__", slow_take)
    monkeypatch.setattr(trainer, "train_step", slow_work)
    hooks = [lambda at: clock.spend(100.0), Log(listener, every=2, device=CPU)]
    build_trainer(build_learner(), steps=4, hooks=hooks, clock=clock).run()
    assert listener.values("train", "train/data_wait") == [0.25, 0.25]
