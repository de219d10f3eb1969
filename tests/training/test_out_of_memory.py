"""A step that does not fit is done again in smaller micro-batches, and nothing else changes."""

import weakref

import pytest
import torch
from torch._dynamo.exc import InternalTorchDynamoError

from hornbook.data.batch import TokenBatch
from hornbook.errors import TrainingError
from hornbook.models import transformer
from hornbook.objectives.next_token import NextToken
from hornbook.objectives.objective import LossOutput
from hornbook.training import validation
from hornbook.training.out_of_memory import cut, is_out_of_memory, rows_at, shrunk_at, smaller
from hornbook.training.validation import Validation
from training.rig import CONTEXT, ROWS, SAMPLES, Source, build_learner, build_trainer, draw
from training.test_step import join
from training.test_trainer import assert_equal, full

CPU_WORDS = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"


class Joint(Source):
    """The rows of a step in one micro-batch."""

    def step(self, step: int) -> list[TokenBatch]:
        return [join(draw(step))]


def fits(monkeypatch: pytest.MonkeyPatch, rows: int, *, from_sample: int = 0, words: str = CPU_WORDS) -> list[int]:
    """Micro-batches of more rows run out of memory, after their gradient; gives the rows that were tried."""
    whole, tried = NextToken.__call__, []

    def limited(self: NextToken, model: torch.nn.Module, batch: TokenBatch) -> LossOutput:
        tried.append(batch.n_rows)
        output = whole(self, model, batch)
        if batch.n_rows > rows and int(batch.sample_ids[0]) >= from_sample:
            if torch.is_grad_enabled():
                sum(output.terms.values()).backward()
            raise RuntimeError(words)
        return output

    monkeypatch.setattr(NextToken, "__call__", limited)
    return tried


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError(CPU_WORDS), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("DefaultCPUAllocator: can't allocate memory"), False),
    ],
)
def test_it_is_known_by_its_words(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_the_next_smaller_divisor() -> None:
    assert [smaller(rows) for rows in (12, 6, 9, 7, 2, 1)] == [6, 3, 3, 1, 1, None]


def test_steps_before_memory_ran_out_keep_their_size() -> None:
    shrunk = shrunk_at(shrunk_at((), 6, 4), 9, 2)
    assert shrunk == ((6, 4), (9, 2))
    assert [rows_at(shrunk, step) for step in (0, 5, 6, 8, 9, 100)] == [None, None, 4, 4, 2, 2]
    assert shrunk_at(shrunk, 5, 4) == ((5, 4), (9, 2))
    assert shrunk_at(shrunk, 6, 1) == ((6, 1),)


def test_cut_keeps_rows_and_order() -> None:
    pieces = cut(draw(0), 1)
    assert [piece.n_rows for piece in pieces] == [1] * SAMPLES
    joint, again = join(draw(0)), join(pieces)
    assert torch.equal(joint.tokens, again.tokens)
    assert torch.equal(joint.sample_ids, again.sample_ids)
    assert pieces[0].tokens.shape == (1, CONTEXT + 1)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_run_equals_one_with_the_smaller_micro_batch_from_there(
    monkeypatch: pytest.MonkeyPatch, dropout: float
) -> None:
    expected = build_learner(dropout=dropout)
    build_trainer(expected, steps=2, batches=Joint()).run()
    state = build_trainer(expected, steps=2).state
    state.step = 2
    build_trainer(expected, steps=5, batches=Joint(), state=state, shrunk=((2, ROWS),)).run()

    told: list[tuple[int, object]] = []
    learner = build_learner(dropout=dropout)
    fits(monkeypatch, ROWS, from_sample=2 * SAMPLES)
    build_trainer(
        learner, steps=5, batches=Joint(), on_retreat=lambda step, line, changes: told.append((step, changes))
    ).run()
    assert told == [(3, {"shrunk": ((2, ROWS),)})]
    assert_equal(full(learner), full(expected))


def test_what_failed_has_left_memory_before_the_next_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, made, alive = NextToken.__call__, [], []

    def limited(self: NextToken, model: torch.nn.Module, batch: TokenBatch) -> LossOutput:
        alive.append([each for each in made if each() is not None])
        output = whole(self, model, batch)
        if batch.n_rows > ROWS:
            made.append(weakref.ref(output))
            raise RuntimeError(CPU_WORDS)
        return output

    monkeypatch.setattr(NextToken, "__call__", limited)
    learner = build_learner()
    build_trainer(learner, steps=1, batches=Joint()).run()
    Validation(learner, [join(draw(9))], seed=0)()
    assert len(made) == 2
    assert not any(alive)


def test_it_shrinks_as_often_as_it_must_and_then_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = fits(monkeypatch, 1)
    trainer = build_trainer(build_learner(), steps=2, batches=Joint())
    trainer.run()
    assert trainer.shrunk == ((0, 1),)
    assert tried == [4, 2, *[1] * 2 * SAMPLES]


def test_one_window_that_does_not_fit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    fits(monkeypatch, 0)
    learner = build_learner()
    with pytest.raises(TrainingError, match=r"step 1: out of memory with one window .*activation_checkpointing"):
        build_trainer(learner, steps=2).run()
    assert all(parameter.grad is None for parameter in learner.model.parameters())


def test_other_errors_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    fits(monkeypatch, 0, words="something else")
    with pytest.raises(RuntimeError, match="something else"):
        build_trainer(build_learner(), steps=2).run()


def test_out_of_memory_in_the_update_is_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = build_learner()

    def step() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(learner.optimizer, "step", step)
    with pytest.raises(torch.OutOfMemoryError):
        build_trainer(learner, steps=2).run()


@pytest.mark.parametrize("where", ["forward", "update"])
def test_a_compiler_that_fails_leaves_the_run_as_it_would_be_without(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    expected = build_learner(dropout=0.2)
    build_trainer(expected, steps=3).run()

    learner, told = build_learner(dropout=0.2), []
    fail = InternalTorchDynamoError("no such compiler\nand more")
    if where == "forward":
        learner.model.compiled = True

        def broken() -> None:
            raise fail

        monkeypatch.setattr(transformer, "_compiled", broken)
    else:

        def move(*moves: object) -> None:
            raise fail

        learner.optimizer._run = move
    build_trainer(learner, steps=3, on_retreat=lambda step, line, changes: told.append((step, line, changes))).run()
    ((step, line, changes),) = told
    assert (step, changes) == (1, {"compile": False})
    assert "InternalTorchDynamoError: no such compiler)" in line
    assert_equal(full(learner), full(expected))


def test_validation_is_the_same_in_pieces_and_keeps_the_size_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, batches = build_learner(dtype=torch.float64), [join(draw(step)) for step in range(2)]
    whole = Validation(learner, batches, seed=1)()
    released: list[torch.device] = []
    monkeypatch.setattr(validation, "release_cached", released.append)
    tried = fits(monkeypatch, 1)
    measure = Validation(learner, batches, seed=1)
    assert measure() == pytest.approx(whole, rel=1e-6)  # bytes are counted in fp32
    assert tried == [4, 2, *[1] * 2 * SAMPLES]
    assert released == [learner.precision.device] * 2
    assert measure() == pytest.approx(whole, rel=1e-6)
    assert tried == [4, 2, *[1] * 4 * SAMPLES]
    fits(monkeypatch, 0)
    with pytest.raises(TrainingError, match=r"validating one window .*eval_every = 0"):
        Validation(learner, batches, seed=1)()
