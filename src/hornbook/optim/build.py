"""From `[optim]` to the optimizer of a model's parameters."""

from collections.abc import Iterable, Mapping
from typing import TypeVar, get_args

from torch.nn import Parameter

from hornbook.config.optim import (
    AdamConfig,
    AdamWConfig,
    LionConfig,
    MuonConfig,
    NAdamWConfig,
    OptimConfig,
    Role,
    ScheduleFreeAdamWConfig,
    SgdConfig,
    SignSgdConfig,
)
from hornbook.config.optim_groups import RestGroups, RoleRates
from hornbook.errors import ConfigError
from hornbook.optim.adam import Adam
from hornbook.optim.adamw import AdamW
from hornbook.optim.groups import ParameterGroup
from hornbook.optim.lion import Lion
from hornbook.optim.muon import Muon
from hornbook.optim.nadamw import NAdamW
from hornbook.optim.optimizer import RuledOptimizer
from hornbook.optim.rule import Rule
from hornbook.optim.schedule_free import ScheduleFreeAdamW
from hornbook.optim.sgd import Sgd
from hornbook.optim.sign_sgd import SignSgd

T = TypeVar("T")
ROLES: tuple[Role, ...] = get_args(Role)


def make_optimizer(
    named_parameters: Iterable[tuple[str, Parameter]], roles: Mapping[str, Role], config: OptimConfig
) -> RuledOptimizer:
    """The optimizer of those parameters; `roles` has the role of each by name. Frozen ones belong to no group.

    Parameters with equal settings share a group; matrices, if there are any, are in the first.

    Raises:
        ConfigError: if a group is configured of which the model has no parameters.
    """
    by_role: dict[Role, list[tuple[str, Parameter]]] = {role: [] for role in ROLES}
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            by_role[roles[name]].append((name, parameter))
    _check_groups(config, by_role)
    groups: dict[tuple[Rule, float], ParameterGroup] = {}
    for role, named in by_role.items():
        if named:
            rule, peak = rule_of(role, config), peak_of(role, config)
            group = ParameterGroup(params=[], rule=rule, lr=peak, initial_lr=peak)
            groups.setdefault((rule, peak), group)["params"].extend(named)
    ema_decay = None if isinstance(config, ScheduleFreeAdamWConfig) else config.ema_decay
    return RuledOptimizer(groups.values(), ema_decay=ema_decay)


def update_costs(
    named_parameters: Iterable[tuple[str, Parameter]], roles: Mapping[str, Role], config: OptimConfig
) -> dict[str, int]:
    """How long an update of each parameter takes, to deal them fairly: by size, but for matrices that Muon moves."""
    return {name: rule_of(roles[name], config).cost(parameter) for name, parameter in named_parameters}


def state_tensors(config: OptimConfig) -> int:
    """Tensors of the weights' size that an optimizer keeps, its average of them included; AdamW and its kin have 2."""
    own = 1 if config.kind in ("sgd", "lion", "sign_sgd") else 2
    return own + (getattr(config, "ema_decay", None) is not None)


def rule_of(role: Role, config: OptimConfig) -> Rule:
    """How parameters of that role move."""
    weight_decay = _setting(role, config, "weight_decay", config.weight_decay if role in config.decay else 0.0)
    match config:
        case MuonConfig() if role == "matrix":
            return Muon(
                momentum=config.momentum,
                momentum_start=config.momentum_start,
                momentum_warmup_steps=config.momentum_warmup_steps,
                nesterov=config.nesterov,
                ns_steps=config.ns_steps,
                weight_decay=weight_decay,
            )
        case SgdConfig():
            return Sgd(momentum=config.momentum, nesterov=config.nesterov, weight_decay=weight_decay)
        case SignSgdConfig():
            return SignSgd(momentum=config.momentum, weight_decay=weight_decay)
        case LionConfig():
            return Lion(betas=_setting(role, config, "betas", config.betas), weight_decay=weight_decay)
    betas, eps = _setting(role, config, "betas", config.betas), _setting(role, config, "eps", config.eps)
    match config:
        case AdamConfig():
            return Adam(betas=betas, eps=eps, weight_decay=weight_decay)
        case AdamWConfig() | MuonConfig():
            return AdamW(betas=betas, eps=eps, weight_decay=weight_decay)
        case NAdamWConfig():
            decay = config.momentum_decay
            return NAdamW(betas=betas, eps=eps, weight_decay=weight_decay, momentum_decay=decay)
        case ScheduleFreeAdamWConfig():
            return ScheduleFreeAdamW(betas=betas, eps=eps, weight_decay=weight_decay)


def peak_of(role: Role, config: OptimConfig) -> float:
    """The learning rate of that role where the schedule's multiplier is 1."""
    if isinstance(config, MuonConfig) and role != "matrix":
        return _setting(role, config, "learning_rate", config.adamw_learning_rate)
    return _setting(role, config, "learning_rate", config.learning_rate)


def _setting(role: Role, config: OptimConfig, name: str, otherwise: T) -> T:
    """What `[optim.groups.ROLE]` says of `name`, or else `otherwise`."""
    value: T | None = getattr(_own(role, config), name, None)
    return otherwise if value is None else value


def _own(role: Role, config: OptimConfig) -> RoleRates | None:
    groups = config.groups
    own: dict[Role, RoleRates | None] = {
        "embedding": groups.embedding,
        "head": groups.head,
        "norm": groups.norm,
        "bias": groups.bias,
    }
    if not isinstance(groups, RestGroups):
        own["matrix"] = groups.matrix
    return own.get(role)


def _check_groups(config: OptimConfig, by_role: Mapping[Role, list[tuple[str, Parameter]]]) -> None:
    for role, named in by_role.items():
        if _own(role, config) is not None and not named:
            why = " of its own: it shares the embedding (model.tie_embeddings)" if role == "head" else ""
            raise ConfigError(
                f"[optim.groups.{role}]: the model has no trained {role} parameters{why}; take the group out"
            )
