"""Drawn points: against another implementation, in their ranges, and the same for ever."""

import json
import math

import pytest
import torch

from hornbook.config.sweep import SearchConfig
from hornbook.sweeps.search import drawn_points
from hornbook.sweeps.sobol import sobol


def search(points, method="random", seed=0, **space):
    table = {"points": points, "method": method, "seed": seed, "space": space}
    return drawn_points(SearchConfig.model_validate_json(json.dumps(table)))


def test_sobol_is_that_of_torch():
    theirs = torch.quasirandom.SobolEngine(21).draw(300, dtype=torch.float64).tolist()
    assert [[sobol(point, dimension) / 2**32 for dimension in range(21)] for point in range(300)] == theirs


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shifted_points_still_lie_in_every_interval_once(seed):
    found = search(64, "sobol", seed, **{"a.uniform": [0, 1], "b.uniform": [0, 1], "c.uniform": [0, 1]})
    for key in "abc":
        assert sorted(int(64 * point[key]) for point in found) == list(range(64))
    squares = {(int(8 * point["a"]), int(8 * point["b"])) for point in found}
    assert len(squares) == 64  # the first two dimensions are a (0, 2)-sequence


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_values_lie_in_their_ranges(method):
    space = {
        "a.uniform": [-1, 1],
        "b.log_uniform": [1e-4, 1e-1],
        "c.integers": [2, 5],
        "d.choice": [[1, 2], [3, 4], "x"],
    }
    found = search(256, method, **space)
    assert all(-1 <= point["a"] <= 1 for point in found)
    below = sum(point["b"] < math.sqrt(1e-5) for point in found)  # half of a logarithmic range lies there
    assert abs(below - 128) <= 4 * math.sqrt(256 / 4)
    assert {point["c"] for point in found} == {2, 3, 4, 5}
    assert {json.dumps(point["d"]) for point in found} == {"[1, 2]", "[3, 4]", '"x"'}


def test_a_narrow_range_has_as_many_values_and_none_outside():
    found = search(256, "sobol", **{"a.uniform": [1_000_000, 1_000_001], "b.log_uniform": [0.1234564, 0.1234565]})
    assert sorted(int(256 * (point["a"] - 1_000_000)) for point in found) == list(range(256))
    assert len({point["b"] for point in found}) == 256
    assert all(0.1234564 <= point["b"] <= 0.1234565 for point in found)


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_more_points_and_another_key_leave_those_that_were_there(method):
    few = search(4, method, **{"a.uniform": [0, 1]})
    more = search(8, method, **{"a.uniform": [0, 1], "b.uniform": [0, 1]})
    assert [point["a"] for point in more[:4]] == [point["a"] for point in few]
    assert search(4, method, seed=1, **{"a.uniform": [0, 1]}) != few


def test_what_was_drawn_once_is_drawn_for_ever():
    space = {"optim.learning_rate.log_uniform": [1e-4, 1e-1], "model.n_layers.integers": [2, 8]}
    assert search(3, **space) == RANDOM
    assert search(3, "sobol", **space) == SOBOL


RANDOM = [
    {"optim.learning_rate": 0.00418517, "model.n_layers": 2},
    {"optim.learning_rate": 0.00390023, "model.n_layers": 8},
    {"optim.learning_rate": 0.0161395, "model.n_layers": 2},
]
SOBOL = [
    {"optim.learning_rate": 0.0261948, "model.n_layers": 5},
    {"optim.learning_rate": 0.000828353, "model.n_layers": 8},
    {"optim.learning_rate": 0.000147304, "model.n_layers": 3},
]
