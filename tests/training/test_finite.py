"""Who made the first value that is not finite: module, arithmetic between modules, gradient; and in which rows."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from hornbook.config.objective import JointConfig
from hornbook.objectives.joint import Joint
from hornbook.objectives.objective import StepContext
from hornbook.training.finite import FiniteWatch, norms_by_layer, not_finite
from hornbook.training.step import Learner, train_step
from training.rig import ROWS, SAMPLES, VOCAB, build_learner, draw

AT = StepContext(seed=5, step=0, samples_per_step=SAMPLES)
BAD_ROW = 1


def watched(learner: Learner) -> FiniteWatch:
    watch = FiniteWatch(learner.model)
    with watch.watching():
        train_step(learner, draw(0), AT, multiplier=1.0)
    return watch


def spoil_row(learner: Learner, *, micro_batch: int) -> Callable[..., torch.Tensor]:
    """A hook that makes one row of one micro-batch infinite, whenever it is computed."""
    n_seen = 0

    def count(module: object, inputs: object) -> None:
        nonlocal n_seen
        n_seen += 1

    learner.model.register_forward_pre_hook(count)

    def hook(module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
        if n_seen - 1 != micro_batch:
            return output
        factor = torch.ones(len(output), 1, 1)
        factor[BAD_ROW] = math.inf
        return output * factor

    return hook


def test_nothing_is_seen_where_everything_is_finite() -> None:
    watch = watched(build_learner())
    assert (watch.forward, watch.backward) == (None, None)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", ["layers.0.attention.q_proj", "layers.1.feed_forward.down_proj", "norm"])
def test_the_module_the_micro_batch_and_the_row_are_named(name: str, checkpointing: bool) -> None:
    learner = build_learner()
    learner.model.activation_checkpointing = checkpointing
    learner.model.get_submodule(name).register_forward_hook(spoil_row(learner, micro_batch=1))
    seen = watched(learner).forward
    assert seen is not None
    assert (seen.name, seen.what, seen.micro_batch, seen.rows) == (name, "output", 1, (BAD_ROW,))
    assert seen.n_bad * ROWS == seen.n_values


def test_two_passes_over_a_micro_batch_are_of_one_micro_batch() -> None:
    settings = {"mask_id": VOCAB - 1, "chunk_tokens": 64}
    learner = replace(build_learner(), objective=Joint(JointConfig(truncation_probability=0.0), **settings))
    learner.model.norm.register_forward_hook(spoil_row(learner, micro_batch=3))  # the second pass over the second
    seen = watched(learner).forward
    assert seen is not None
    assert (seen.name, seen.micro_batch, seen.rows) == ("norm", 1, (BAD_ROW,))


def test_a_weight_that_overflows_is_found_at_its_product() -> None:
    learner = build_learner()
    with torch.no_grad():
        learner.model.layers[1].feed_forward.down_proj.weight.fill_(3e38)
    assert not_finite(learner.model) == []
    assert watched(learner).forward.name == "layers.1.feed_forward.down_proj"


def test_arithmetic_between_modules_is_its_own_module_s() -> None:
    learner = build_learner()
    block = learner.model.layers[1]
    block.feed_forward.register_forward_pre_hook(lambda module, inputs: (inputs[0] * math.inf,))
    # Hooks run in the order in which they were made: this one spoils the input before ours sees it.
    seen = watched(learner).forward
    assert (seen.name, seen.what) == ("layers.1", "own arithmetic")


def test_a_gradient_that_is_not_finite_is_found_where_it_is_made() -> None:
    learner = build_learner()

    def spoil(module: object, inputs: object, output: torch.Tensor) -> None:
        output.register_hook(lambda gradient: gradient * math.inf)

    learner.model.layers[0].attention.o_proj.register_forward_hook(spoil)
    watch = watched(learner)
    assert watch.forward is None
    # The hook changes what flows into o_proj's output, so o_proj's is the first to be seen: not the layer's or others'.
    assert watch.backward.name.startswith("layers.0.attention.o_proj")


def test_a_parameter_s_gradient_is_seen_too() -> None:
    learner = build_learner()
    learner.model.layers[1].attention_norm.weight.register_hook(lambda gradient: gradient * math.nan)
    seen = watched(learner).backward
    assert (seen.name, seen.what, seen.rows) == ("layers.1.attention_norm.weight", "gradient of the parameter", ())


def test_watching_changes_no_number_and_leaves_no_hook() -> None:
    plain, other = build_learner(dropout=0.1), build_learner(dropout=0.1)
    expected = train_step(plain, draw(0), AT, multiplier=1.0)
    watch = FiniteWatch(other.model)
    with watch.watching():
        assert train_step(other, draw(0), AT, multiplier=1.0) == expected
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in other.model.modules())


def test_norms_by_layer_make_up_the_whole_norm() -> None:
    learner = build_learner(dtype=torch.float64)
    seen: dict[str, float] = {}

    class Watch:
        def before_update(self, learner: Learner, batches: object, at: object) -> None:
            seen.update(norms_by_layer(learner.model))

        def after_update(self, learner: Learner, at: object, *, skipped: bool) -> None: ...

    report = train_step(replace(learner, watch=Watch()), draw(0), AT, multiplier=1.0)
    assert list(seen) == ["token_embedding", "layers.0", "layers.1", "norm"]
    # Norms of single tensors are taken in float32.
    assert math.hypot(*seen.values()) == pytest.approx(report.grad_norm, rel=1e-6)


def test_bad_weights_are_named() -> None:
    learner = build_learner()
    with torch.no_grad():
        learner.model.norm.weight[0] = math.nan
    assert not_finite(learner.model) == ["norm.weight"]
