"""Which parameters move together, by which rule, at which rate."""

import pytest
import torch

from hornbook.config.optim import AdamConfig, AdamWConfig, MuonConfig, OptimConfig
from hornbook.config.optim_groups import AdamRoleRates
from hornbook.errors import ConfigError
from hornbook.optim.adamw import AdamW
from hornbook.optim.build import make_optimizer
from hornbook.optim.groups import set_learning_rate
from hornbook.optim.muon import Muon

ROLES = {"e": "embedding", "w": "matrix", "g": "norm", "b": "bias", "h": "head"}


def tensors() -> dict[str, torch.nn.Parameter]:
    return {name: torch.nn.Parameter(torch.ones(2, 2)) for name in ROLES}


def build(config: OptimConfig) -> list[dict]:
    return make_optimizer(tensors().items(), ROLES, config).param_groups


def test_only_listed_roles_decay() -> None:
    config = AdamWConfig(learning_rate=0.5, weight_decay=0.1, decay=("matrix", "head"))
    weights = tensors()
    optimizer = make_optimizer(weights.items(), ROLES, config)
    for tensor in weights.values():
        tensor.grad = torch.zeros(2, 2)
    optimizer.step()
    for name, tensor in weights.items():
        expected = 1.0 - 0.5 * 0.1 if name in ("w", "h") else 1.0
        torch.testing.assert_close(tensor.detach(), torch.full((2, 2), expected), msg=name)


def test_equal_settings_share_a_group_and_matrices_come_first() -> None:
    groups = build(AdamWConfig())
    assert [group["param_names"] for group in groups] == [["w", "e", "h"], ["g", "b"]]
    assert [group["rule"].weight_decay for group in groups] == [0.1, 0.0]


def test_frozen_parameters_belong_to_no_group() -> None:
    weights = tensors()
    weights["b"].requires_grad_(False)
    groups = make_optimizer(weights.items(), ROLES, AdamWConfig()).param_groups
    assert [group["param_names"] for group in groups] == [["w", "e", "h"], ["g"]]


def test_a_group_of_its_own() -> None:
    rates = {"embedding": {"learning_rate": 0.3, "betas": (0.5, 0.6)}, "norm": {"weight_decay": 0.7, "eps": 1e-3}}
    groups = build(AdamConfig(groups=rates))
    by_name = {name: group for group in groups for name in group["param_names"]}
    assert [group["param_names"] for group in groups] == [["w", "h"], ["e"], ["g"], ["b"]]
    assert (by_name["e"]["lr"], by_name["e"]["rule"].betas, by_name["e"]["rule"].weight_decay) == (0.3, (0.5, 0.6), 0.1)
    assert (by_name["g"]["lr"], by_name["g"]["rule"].eps, by_name["g"]["rule"].weight_decay) == (1e-3, 1e-3, 0.7)
    assert by_name["w"]["rule"].weight_decay == 0.1
    assert by_name["b"]["rule"].weight_decay == 0.0


def test_muon_takes_matrices_and_adamw_the_rest() -> None:
    groups = build(MuonConfig(adamw_learning_rate=0.2, groups={"head": AdamRoleRates(learning_rate=0.01)}))
    found = [(type(group["rule"]), group["lr"], group["param_names"]) for group in groups]
    assert found == [(Muon, 0.02, ["w"]), (AdamW, 0.2, ["e"]), (AdamW, 0.01, ["h"]), (AdamW, 0.2, ["g", "b"])]


def test_learning_rate_reaches_every_group_by_its_own_peak() -> None:
    config = AdamWConfig(learning_rate=0.5, groups={"norm": AdamRoleRates(learning_rate=2.0)})
    optimizer = make_optimizer(tensors().items(), ROLES, config)
    set_learning_rate(optimizer, 0.25)
    assert [(group["param_names"], group["lr"]) for group in optimizer.param_groups] == [
        (["w", "e", "h"], 0.125),
        (["g"], 0.5),
        (["b"], 0.125),
    ]


def test_a_group_without_parameters_is_refused() -> None:
    config = AdamWConfig(groups={"head": AdamRoleRates(learning_rate=2.0)})
    weights = {name: tensor for name, tensor in tensors().items() if name != "h"}
    with pytest.raises(
        ConfigError, match=r"\[optim.groups.head\]: the model has no trained head parameters of its own"
    ):
        make_optimizer(weights.items(), ROLES, config)
