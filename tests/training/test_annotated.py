"""Which call is which part of a step; looking changes nothing, and nothing stays behind."""

import json

import pytest
import torch

from hornbook import assemble
from hornbook.checkpoint.load import load_checkpoint
from hornbook.data.loader import Prefetcher
from hornbook.data.mixture import Mixture
from hornbook.objectives.next_token import NextToken
from hornbook.profiling.step_clock import OTHER, Breakdown, StepClock
from hornbook.storage.run_dir import resolve_checkpoint
from hornbook.training.annotated import annotated
from profiling.test_ranges import Hands, Told
from tiny_project import load, make_project

COARSE = [
    "data/wait",
    "step",
    *["  data/prepare"] * 4,
    "  communication/sum",
    *["  forward", "  backward"] * 2,
    "  communication/agree",
    "  communication/sum",
    "  optimizer/clip",
    "  communication/agree",
    "  optimizer/update",
    "  optimizer/zero",
    "communication/agree",
    "logging",
]
"""Of a step of two micro-batches."""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("annotated"))


def trainer_of(project, hooks=(), **changes):
    config = load(project, train__steps=2, **changes)
    job, state = assemble.build_job(config, Mixture.open(config.data), None, None)
    return job.trainer(state, list(hooks))


def test_the_ranges_of_a_step_in_order(project):
    trainer, told = trainer_of(project), Told()
    with annotated(trainer, told):
        trainer.run()
    assert told.lines == COARSE + COARSE
    assert told.depth == 0


def test_fine_and_verbose_have_modules_too_and_nothing_stays_behind(project):
    before = Prefetcher.__next__, NextToken.__call__
    trainer, told = trainer_of(project), {"fine": Told(), "verbose": Told()}
    objects = [trainer, trainer.learner.strategy, trainer.learner.objective, trainer.batches]
    attributes = [set(vars(each)) for each in objects]
    for level, each in told.items():
        trainer.state.step = 0
        with annotated(trainer, each, level=level):
            for step in range(2):
                trainer._step(step, trainer.batches.step(step))
    fine, verbose = ({line.strip() for line in each.lines} for each in told.values())
    assert {"token_embedding", "layers.0", "layers.1.attention", "norm"} <= fine
    assert fine < verbose
    assert {"data/read", "layers.1.attention.q_proj"} <= verbose - fine
    assert "  forward" in told["fine"].lines
    assert "    layers.0" in told["fine"].lines
    assert [set(vars(each)) for each in objects] == attributes
    assert (Prefetcher.__next__, NextToken.__call__) == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in trainer.learner.model.modules())


def test_work_is_charged_to_the_part_that_does_it(project, monkeypatch):
    hands = Hands()

    def costs(owner, method, seconds):
        inner = getattr(owner, method)

        def slow(*args, **kwargs):
            hands.time += seconds
            return inner(*args, **kwargs)

        monkeypatch.setattr(owner, method, slow)

    def hook(moment):
        hands.time += 100.0

    trainer = trainer_of(project, [hook])
    strategy = trainer.learner.strategy
    for owner, method, seconds in [
        (Prefetcher, "__next__", 1.0),
        (NextToken, "__call__", 10.0),
        (strategy, "backward", 20.0),
        (strategy, "update", 5.0),
        (strategy, "clip_grad_norm", 2.0),
        (strategy, "sum", 0.25),
    ]:
        costs(owner, method, seconds)
    clock = StepClock(now=hands)
    with annotated(trainer, clock):
        trainer.run()
    found = Breakdown.of(clock.steps)
    assert found.parts() == {
        "data": 1.0,
        "forward": 20.0,
        "backward": 40.0,
        "optimizer": 7.0,
        "communication": 0.5,
        "logging": 100.0,
        OTHER: 0.0,
    }
    assert found.step == hands.time / 2


@pytest.mark.parametrize("level", ["coarse", "verbose"])
def test_a_run_with_nvtx_ranges_is_the_same_run(project, tmp_path, monkeypatch, level):
    told = Told()
    monkeypatch.setattr(torch.cuda.nvtx, "range_push", told.push)
    monkeypatch.setattr(torch.cuda.nvtx, "range_pop", told.pop)
    monkeypatch.setattr(torch.autograd.profiler, "emit_nvtx", lambda: pytest.MonkeyPatch.context())
    settings = {"train__steps": 2, "train__eval_every": 0, "model__dropout": 0.1, "data__loader_threads": 1}
    weights = []
    for name, switch in (("plain", "0"), ("annotated", "1")):
        monkeypatch.setenv("HORNBOOK_NVTX", switch)
        monkeypatch.setenv("HORNBOOK_NVTX_LEVEL", level)
        run = assemble.train(load(project, run__out_dir=str(tmp_path), run__name=name, **settings)).run_dir
        weights.append(load_checkpoint(resolve_checkpoint(run.root), with_optimizer=True))
        assert bool(told.lines) == (switch == "1")
    first, second = weights
    assert all(torch.equal(tensor, second.weights[name]) for name, tensor in first.weights.items())
    assert all(torch.equal(tensor, second.optimizer[name]) for name, tensor in first.optimizer.items())
    lines = [line.strip() for line in told.lines]
    assert (lines.count("step"), lines.count("backward")) == (2, 4)
    assert ("layers.0" in lines) == (level == "verbose")


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has NVTX")
def test_ranges_that_cannot_be_had_are_said(project, tmp_path, monkeypatch):
    monkeypatch.setenv("HORNBOOK_NVTX", "1")
    run = assemble.train(load(project, run__out_dir=str(tmp_path), train__steps=1, train__eval_every=0)).run_dir
    [start] = [json.loads(line) for line in run.metrics_file.read_text().splitlines() if '"start"' in line]
    assert "HORNBOOK_NVTX=1 has no effect" in start["warning"]
