"""Ranges go around calls and leave nothing behind; the clock charges the innermost one."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from hornbook.profiling.ranges import Point, module_ranges, ranged
from hornbook.profiling.step_clock import OTHER, Breakdown, StepClock, device_clock


class Told:
    """Takes down what it hears, indented by what is open."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0

    def push(self, name: str) -> None:
        self.lines.append("  " * self.depth + name)
        self.depth += 1

    def pop(self) -> None:
        self.depth -= 1
        assert self.depth >= 0


class Worker:
    def outer(self, n: int) -> int:
        return self.inner(n) + 1

    def inner(self, n: int) -> int:
        if n < 0:
            raise ValueError("negative")
        return 2 * n


def test_calls_of_an_object_are_ranges_and_only_inside():
    told, worker = Told(), Worker()
    points = [Point(worker, "outer", "outer"), Point(worker, "inner", lambda n: f"inner {n}")]
    with ranged(points, told):
        assert worker.outer(3) == 7
        assert Worker().outer(1) == 3  # another one
    assert told.lines == ["outer", "  inner 3"]
    assert vars(worker) == {}
    worker.outer(3)
    assert len(told.lines) == 2


def test_calls_of_a_class_are_ranges_of_all_its_objects():
    told, before = Told(), Worker.inner
    with ranged([Point(Worker, "inner", "inner")], told):
        assert Worker().outer(1) + Worker().outer(2) == 8
    assert told.lines == ["inner", "inner"]
    assert Worker.inner is before


def test_an_error_ends_its_ranges_and_goes_on():
    told, worker = Told(), Worker()
    with (
        pytest.raises(ValueError, match="negative"),
        ranged([Point(worker, "outer", "o"), Point(worker, "inner", "i")], told),
    ):
        worker.outer(-1)
    assert told.depth == 0
    assert vars(worker) == {}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU())) for _ in range(2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


@pytest.mark.parametrize("every", [False, True])
def test_modules_are_ranges_down_to_the_parts_of_a_layer(every):
    told, net = Told(), Net()
    x = torch.ones(1, 2)
    expected = net(x)
    with module_ranges(net, told, every=every):
        assert torch.equal(net(x), expected)
    deepest = ["    layers.0.1.0"] if every else []
    assert told.lines[: 3 + every] == ["layers.0", "  layers.0.0", "  layers.0.1", *deepest]
    assert told.depth == 0
    net(x)
    assert len(told.lines) == 2 * (3 + every)


def test_a_module_that_is_cut_short_ends_its_range():
    """Activation checkpointing leaves the last module by an exception, when it has recomputed what it needs."""
    told, net = Told(), Net()

    def forward() -> torch.Tensor:
        x = torch.ones(1, 2, requires_grad=True)
        return checkpoint(net.layers[0], x, use_reentrant=False).sum()

    with module_ranges(net, told, every=True):
        forward().backward()
    assert told.lines.count("layers.0") == 2
    assert told.depth == 0


class Hands:
    """A clock that is set by hand."""

    time = 0.0

    def __call__(self) -> float:
        return self.time


def test_every_instant_counts_for_the_innermost_known_range():
    hands = Hands()
    clock = StepClock(now=hands)

    def during(name: str, *lengths: float, inside: str | None = None) -> None:
        clock.push(name)
        hands.time += lengths[0]
        if inside is not None:
            during(inside, *lengths[1:])
        clock.pop()

    for step in range(2):
        during("data/wait", 1.0)
        clock.push("step")
        hands.time += 0.5  # of no part
        during("forward", 2.0)
        during("backward", 4.0, 8.0, inside="communication/gradients")
        clock.push("something else")
        hands.time += 0.25
        clock.pop()
        during("logging/watch", 16.0)
        clock.pop()
        assert len(clock.steps) == step
        during("logging", 32.0, inside=None)
    assert len(clock.steps) == 2
    found = Breakdown.of(clock.steps)
    assert found.parts() == {
        "data": 1.0,
        "forward": 2.0,
        "backward": 4.0,
        "optimizer": 0.0,
        "communication": 8.0,
        "logging": 48.0,
        OTHER: 0.75,
    }
    assert found.step == found.fastest == found.slowest == 63.75
    assert found.seconds["logging/watch"] == 16.0


def test_a_breakdown_is_the_mean_and_knows_its_extremes():
    found = Breakdown.of([{"forward": 1.0, OTHER: 1.0}, {"forward": 3.0, "data/wait": 2.0}])
    assert found.seconds == {"forward": 2.0, "data/wait": 1.0, OTHER: 0.5}
    assert (found.step, found.fastest, found.slowest, found.steps) == (3.5, 2.0, 5.0, 2)


def test_a_device_is_waited_for_before_the_time_is_taken():
    waited = []
    now = device_clock(lambda: waited.append(1))
    assert now() <= now()
    assert waited == [1, 1]
