"""A step consumes the same global samples however it is cut, and threads change nothing but the time."""

import threading
import time
from dataclasses import fields

import pytest
import torch

from hornbook.data.batch import Noised, TokenBatch
from hornbook.data.loader import Prefetcher, StepBatches, WindowSamples, fixed_batches
from hornbook.data.order import SampleOrder
from hornbook.data.windows import Windows
from hornbook.errors import DataError


@pytest.fixture
def windows(stream_of):
    return Windows(stream_of([range(101)], shard_tokens=40), context_length=4, stride=4, lookahead=1)  # 25 windows


def batches(windows, **shape) -> StepBatches[TokenBatch]:
    order = SampleOrder(len(windows), seed=5)
    return StepBatches(WindowSamples(windows), order, **{"samples_per_step": 12, "micro_batch_size": 2, **shape})


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("micro_batch_size", [1, 2, 4])
def test_ranks_and_micro_batches_share_out_the_step(windows, world_size, micro_batch_size):
    """Over all ranks, each global sample of the step occurs once and reads the window that the order says."""
    order = SampleOrder(len(windows), seed=5)
    for step in (0, 1, 7):  # 25 windows: step 1 already reaches into the second epoch
        found = {}
        for rank in range(world_size):
            shape = {"micro_batch_size": micro_batch_size, "rank": rank, "world_size": world_size}
            shape["samples_per_step"] = 24
            for batch in batches(windows, **shape).step(step):
                assert batch.tokens.shape == (micro_batch_size, 5)
                assert batch.tokens.dtype == torch.int64
                assert batch.loss_mask.all()
                for sample, tokens in zip(batch.sample_ids.tolist(), batch.tokens, strict=True):
                    assert sample not in found
                    found[sample] = tokens.tolist()
        expected = range(step * 24, step * 24 + 24)
        assert found == {sample: windows[order.window(sample)].tolist() for sample in expected}


def test_layout_is_as_drawn(windows):
    """The picture in the module docstring."""
    held = [
        [batch.sample_ids.tolist() for batch in batches(windows, rank=rank, world_size=3).step(0)] for rank in range(3)
    ]
    assert held == [[[0, 1], [6, 7]], [[2, 3], [8, 9]], [[4, 5], [10, 11]]]


def test_a_step_that_cannot_be_cut(windows):
    with pytest.raises(DataError, match=r"12 samples .* of 5 on 1 process.*; nearest: 10 or 15"):
        batches(windows, micro_batch_size=5)
    with pytest.raises(DataError, match="nearest: 32 samples"):
        batches(windows, micro_batch_size=16, world_size=2)


def test_fixed_batches_are_evenly_spaced_and_always_the_same(windows):
    once, again = (fixed_batches(WindowSamples(windows), n_samples=5, batch_size=2) for _ in range(2))
    assert [batch.sample_ids.tolist() for batch in once] == [[0, 1], [2, 3], [4]]
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(once, again, strict=True))
    assert once[1].tokens.tolist() == [windows[10].tolist(), windows[15].tolist()]


def test_fixed_batches_take_all_of_a_short_split(windows):
    rows = torch.cat([batch.tokens for batch in fixed_batches(WindowSamples(windows), n_samples=1000, batch_size=10)])
    assert rows.tolist() == [windows[i].tolist() for i in range(25)]


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 7])
def test_ranks_share_the_fixed_windows(windows, world_size):
    shares = [
        fixed_batches(WindowSamples(windows), n_samples=5, batch_size=2, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    counted = [
        (sample, row.tolist())
        for share in shares
        for batch in share
        for sample, row, mask in zip(batch.sample_ids.tolist(), batch.tokens, batch.loss_mask, strict=True)
        if mask.any()
    ]
    assert counted == [(i, windows[5 * i].tolist()) for i in range(5)]
    assert all(share and all(1 <= batch.n_rows <= 2 for batch in share) for share in shares)


def test_rows_are_those_of_all_ranks_in_their_global_micro_batches(windows):
    order = SampleOrder(len(windows), seed=3)
    one, *three = (
        StepBatches(WindowSamples(windows), order, samples_per_step=12, micro_batch_size=2, rank=rank, world_size=n)
        for n, rank in ((1, 0), (3, 0), (3, 2))
    )
    for each in three:
        assert each.rows(4) == one.rows(4)
        halves = each.rows(4, most=1)
        assert sorted(row.sample for row in halves) == [row.sample for row in one.rows(4)]
        assert [row.micro_batch for row in halves] == list(range(12))


def read_all(source, threads, depth, steps=range(3, 20)):
    with Prefetcher(source, first_step=steps.start, last_step=steps.stop, threads=threads, depth=depth) as prefetcher:
        return list(prefetcher)


@pytest.mark.parametrize(("threads", "depth"), [(1, 1), (2, 2), (3, 1), (2, 50)])
def test_threads_change_nothing(windows, threads, depth):
    source = batches(windows)
    for (step, found), expected_step in zip(read_all(source, threads, depth), range(3, 20), strict=True):
        assert step == expected_step
        for batch, expected in zip(found, source.step(step), strict=True):
            assert torch.equal(batch.tokens, expected.tokens)
            assert torch.equal(batch.sample_ids, expected.sample_ids)


class Slow:
    """Takes longer for even steps, and fails at one; knows how far it was asked."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at = fails_at
        self.asked: list[int] = []

    def step(self, step: int) -> list[TokenBatch]:
        self.asked.append(step)
        time.sleep(0.004 if step % 2 == 0 else 0)
        if step == self.fails_at:
            raise DataError(f"step {step} is broken")
        return []


def test_order_holds_when_later_steps_are_faster():
    assert [step for step, _ in read_all(Slow(), 3, 6, range(10))] == list(range(10))


def test_the_next_step_is_read_while_the_consumer_works():
    class Signals:
        def __init__(self):
            self.begun = [threading.Event() for _ in range(4)]

        def step(self, step):
            self.begun[step].set()
            return []

    source = Signals()
    with Prefetcher(source, first_step=0, last_step=4, threads=1, depth=1) as prefetcher:
        for step, _ in prefetcher:
            assert step == 3 or source.begun[step + 1].wait(timeout=60)  # before it is asked for


def test_an_error_comes_where_its_step_is_asked_for():
    with Prefetcher(Slow(fails_at=2), first_step=0, last_step=9, threads=2, depth=4) as prefetcher:
        assert [next(prefetcher)[0], next(prefetcher)[0]] == [0, 1]
        with pytest.raises(DataError, match="step 2 is broken"):
            next(prefetcher)


def test_leaving_early_ends_the_threads():
    source = Slow()
    with Prefetcher(source, first_step=0, last_step=1_000_000, threads=2, depth=3) as prefetcher:
        next(prefetcher)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]
    assert max(source.asked) < 10  # no further ahead than depth
    assert list(prefetcher) == []


def test_an_error_of_the_consumer_ends_the_threads():
    def consume():
        with Prefetcher(Slow(), first_step=0, last_step=1_000, threads=2, depth=3) as prefetcher:
            next(prefetcher)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        consume()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_no_steps():
    assert read_all(Slow(), 1, 2, range(5, 5)) == []


def test_batch_moves_every_part():
    tokens = torch.arange(6).reshape(2, 3)
    batch = TokenBatch(
        tokens=tokens,
        loss_mask=tokens > 0,
        sample_ids=torch.arange(2),
        document_ids=torch.zeros_like(tokens),
        positions=tokens,
        noised=Noised(
            tokens=tokens,
            counted=tokens > 0,
            masked=tokens > 1,
            mask_probability=tokens.float(),
            weight=tokens.float(),
            document_ids=tokens,
            coefficient=0.5,
        ),
    )
    moved = batch.to("meta")
    assert batch.n_rows == moved.n_rows == 2
    assert moved.noised is not None
    assert moved.noised.coefficient == 0.5
    parts = [getattr(moved, field.name) for field in fields(TokenBatch) if field.name != "noised"]
    parts += [getattr(moved.noised, field.name) for field in fields(Noised) if field.name != "coefficient"]
    assert {part.device.type for part in parts} == {"meta"}
    bare = TokenBatch(tokens=tokens, loss_mask=tokens > 0, sample_ids=torch.arange(2)).to("cpu")
    assert bare.document_ids is None
    assert bare.positions is None
