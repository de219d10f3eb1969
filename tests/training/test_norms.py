"""Norms and histograms against direct computation; who watches a step changes nothing of it."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from hornbook.config.tracking import TrackingConfig
from hornbook.objectives.objective import StepContext
from hornbook.training.norms import Norms, NormWatch, norm_watch
from hornbook.training.step import Learner, train_step
from training.rig import SAMPLES, Listener, build_learner, build_trainer, draw

MODULES = {"token_embedding", "norm"} | {
    f"layers.{i}.{part}"
    for i in (0, 1)
    for part in ("attention_norm", "attention", "feed_forward_norm", "feed_forward")
}
OUTPUTS = {"token_embedding", "norm"} | {
    f"layers.{i}{part}" for i in (0, 1) for part in ("", ".attention", ".feed_forward")
}


def watched(watch: NormWatch, **changes: object) -> Learner:
    return replace(build_learner(**changes), watch=watch)


def step(learner: Learner, number: int = 0) -> object:
    at = StepContext(seed=5, step=number, samples_per_step=SAMPLES)
    return train_step(learner, draw(number), at, multiplier=1.0)


def parts(norms: Mapping[str, float], kind: str) -> dict[str, float]:
    prefix = f"norms/{kind}/"
    return {name.removeprefix(prefix): value for name, value in norms.items() if name.startswith(prefix)}


def size(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(tensor.double().square().sum().item() for tensor in tensors))


def by_module(model: torch.nn.Module) -> dict[str, dict[str, Tensor]]:
    groups: dict[str, dict[str, Tensor]] = {module: {} for module in MODULES}
    for name, parameter in model.named_parameters():
        (module,) = [m for m in MODULES if name.startswith(f"{m}.")]
        groups[module][name] = parameter.detach().clone()
    return groups


def test_every_norm_is_that_of_a_direct_computation() -> None:
    watch = NormWatch(norms_every=1, histograms_every=0)
    learner = watched(watch, clip=1e-3)
    model = learner.model
    before = by_module(model)
    gradients: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        # The last of both micro-batches leaves the whole sum here, before anything clips it.
        parameter.register_post_accumulate_grad_hook(
            lambda p, name=name: gradients.__setitem__(name, p.grad.detach().clone())
        )
    report = step(learner)
    after, norms = by_module(model), watch.norms
    assert {kind: set(parts(norms, kind)) for kind in ("grad", "weight", "update_ratio", "activation")} == {
        "grad": MODULES,
        "weight": MODULES,
        "update_ratio": {module for module in MODULES if size([*before[module].values()])},
        "activation": OUTPUTS,
    }
    for module in MODULES:
        old, new = before[module], after[module]
        moved = size([new[name] - old[name] for name in old])
        # float32 sums of at most 1e3 squares: an error of a few 1e-6
        assert norms[f"norms/grad/{module}"] == pytest.approx(size([gradients[name] for name in old]), rel=1e-5)
        assert norms[f"norms/weight/{module}"] == pytest.approx(size([*new.values()]), rel=1e-5)
        assert norms[f"norms/update_ratio/{module}"] == pytest.approx(moved / size([*old.values()]), rel=1e-4)
    total = math.sqrt(sum(norm**2 for norm in parts(norms, "grad").values()))
    assert total == pytest.approx(report.grad_norm, rel=1e-5)
    assert report.grad_norm > 1e-2  # so it was clipped, and we saw it before


def test_activations_are_root_mean_squares_of_the_first_micro_batch_before_the_update() -> None:
    watch = NormWatch(norms_every=1, histograms_every=0)
    learner = watched(watch, dropout=0.2)
    model, inputs = learner.model, draw(0)[0].tokens[:, :-1]
    model.eval()
    x = model.token_embedding(inputs)
    expected = {"token_embedding": x}
    outputs: dict[str, Tensor] = {}
    handles = [
        model.get_submodule(name).register_forward_hook(lambda m, a, out, name=name: outputs.__setitem__(name, out))
        for name in OUTPUTS
    ]
    with torch.no_grad():
        model(inputs)
    for handle in handles:
        handle.remove()
    model.train()
    step(learner)
    for name, output in (outputs | expected).items():
        rms = output.double().square().mean().sqrt().item()
        assert watch.norms[f"norms/activation/{name}"] == pytest.approx(rms, rel=1e-5)
    assert all(not module._forward_hooks for module in model.modules())
    assert model.training


def test_watching_changes_nothing_bit_for_bit() -> None:
    def trained(watch: NormWatch | None, precision: str) -> dict[str, Tensor]:
        learner = replace(build_learner(dropout=0.1, precision=precision), watch=watch)
        build_trainer(learner, steps=6).run()
        return learner.model.state_dict()

    for precision in ("fp32", "bf16"):
        plain = trained(None, precision)
        for name, tensor in trained(NormWatch(norms_every=2, histograms_every=3), precision).items():
            assert torch.equal(tensor, plain[name]), name


def test_norms_are_told_at_their_own_steps() -> None:
    watch, listener = NormWatch(norms_every=3, histograms_every=4), Listener()
    build_trainer(watched(watch), steps=8, hooks=[Norms(watch, listener)]).run()
    assert listener.steps("norms") == [3, 6]
    kinds = {name.rsplit("/", 1)[0] for name, _, _ in listener.histograms}
    assert kinds == {"histograms/grad", "histograms/weight"}
    assert sorted({step for _, step, _ in listener.histograms}) == [4, 8]


def test_histograms_count_every_weight_and_gradient() -> None:
    watch = NormWatch(norms_every=0, histograms_every=1)
    learner = watched(watch)
    step(learner)
    assert {name.removeprefix("histograms/weight/") for name in watch.histograms} >= MODULES
    for module, tensors in by_module(learner.model).items():
        values = torch.cat([tensor.flatten() for tensor in tensors.values()]).numpy()
        made = watch.histograms[f"histograms/weight/{module}"]
        counts, edges = np.histogram(values, bins=64)
        assert sum(made.counts) == values.size
        np.testing.assert_allclose(made.edges, edges, rtol=1e-5, atol=1e-7)
        assert np.abs(np.cumsum(made.counts) - np.cumsum(counts)).max() <= 2  # a value on an edge may fall either way


def test_a_skipped_step_names_the_culprit_and_has_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = NormWatch(norms_every=1, histograms_every=1)
    learner = watched(watch)
    learner.model.layers[1].attention.o_proj.weight.register_hook(lambda gradient: gradient * math.nan)
    before = by_module(learner.model)
    assert step(learner).skipped
    broken = [module for module, norm in parts(watch.norms, "grad").items() if not math.isfinite(norm)]
    assert broken == ["layers.1.attention"]
    assert parts(watch.norms, "update_ratio") == {}
    after = by_module(learner.model)
    assert all(torch.equal(after[m][name], before[m][name]) for m in before for name in before[m])


def test_steps_that_are_not_due_measure_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = NormWatch(norms_every=2, histograms_every=0)
    learner = watched(watch)
    step(learner, 1)
    assert watch.norms
    monkeypatch.setattr("hornbook.training.norms.tensor_norms", None)  # whoever measures now fails
    step(learner, 2)
    assert (watch.norms, watch.histograms, watch._before) == ({}, {}, {})


def test_without_a_request_there_is_no_watch() -> None:
    assert norm_watch(TrackingConfig()) is None
    assert norm_watch(TrackingConfig(norms_every=5)).norms_every == 5


def test_all_numbers_leave_the_device_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = NormWatch(norms_every=1, histograms_every=0)
    learner = watched(watch)
    at = StepContext(seed=5, step=0, samples_per_step=SAMPLES)
    calls: list[str] = []
    for name in ("item", "tolist", "__bool__", "__float__"):
        whole = getattr(Tensor, name)

        def counted(self: Tensor, *rest: object, whole=whole, name=name) -> object:
            calls.append(name)
            return whole(self, *rest)

        monkeypatch.setattr(Tensor, name, counted)
    sum(learner.objective(learner.model, draw(0)[0]).terms.values()).backward()
    calls.clear()
    watch.before_update(learner, [draw(0)[0]], at)
    watch.after_update(learner, at, skipped=False)
    assert calls == ["tolist"]


@pytest.mark.medium
@pytest.mark.compiles
def test_compiled_code_is_neither_changed_nor_compiled_anew() -> None:
    def trained(watch: NormWatch | None) -> tuple[dict[str, Tensor], int]:
        torch.compiler.reset()
        torch._dynamo.utils.counters.clear()
        learner = replace(build_learner(), watch=watch)
        learner.model.compiled = True
        build_trainer(learner, steps=4).run()
        return learner.model.state_dict(), torch._dynamo.utils.counters["stats"]["unique_graphs"]

    import torch._dynamo

    plain, graphs = trained(None)
    watch = NormWatch(norms_every=2, histograms_every=0)
    weights, with_norms = trained(watch)
    assert set(parts(watch.norms, "activation")) == OUTPUTS
    assert with_norms == graphs > 0
    assert all(torch.equal(weights[name], plain[name]) for name in plain)


@pytest.mark.gpu
def test_on_a_gpu_the_numbers_are_those_of_the_cpu() -> None:
    found = []
    for device in ("cpu", "cuda"):
        watch = NormWatch(norms_every=1, histograms_every=1)
        step(watched(watch, device=device))
        found.append(watch)
    cpu, cuda = found
    assert cuda.norms == pytest.approx(cpu.norms, rel=1e-3)
    assert set(cuda.histograms) == set(cpu.histograms)
