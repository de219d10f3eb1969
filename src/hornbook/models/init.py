"""How weights start. Every number is drawn on the CPU from (seed, parameter name), so it depends neither on the device,
nor on the global generator, nor on what other parameters exist.

| | ours | zero | torch_default | gpt2 | xavier |
| --- | --- | --- | --- | --- | --- |
| token embedding, tied | N(0.5 d_model^-0.5) | as ours | N(1) | N(0.02) | N(d_model^-0.5) |
| token embedding, untied | N(0.2) | N(0.5) | N(1) | N(0.02) | N(d_model^-0.5) |
| position embedding | N(0.02) | N(0.02) | N(1) | N(0.02) | N(d_model^-0.5) |
| matrices | N(fan_in^-0.5) | N(fan_in^-0.5) | U(fan_in^-0.5) | N(0.02) | U((6 / (fan_in + fan_out))^0.5) |
| o_proj and down_proj | N(0.25 (2 n_layers fan_in)^-0.5) | 0 | as matrices | N(0.02 (2 n_layers)^-0.5) | as matrices |
| head, if untied | N(0.02) | 0 | U(fan_in^-0.5) | N(0.02) | as matrices |
| biases of linear layers | 0 | 0 | U(fan_in^-0.5) | 0 | 0 |
| gains of QK-norm | 1 | 1.2 | 1 | 1 | 1 |

N(s) is normal with standard deviation s; U(a) is uniform on [-a, a], standard deviation a / sqrt(3). Other gains are
1; biases of LayerNorm and embeddings of n-grams are 0. The division by sqrt(2 n_layers) keeps the residual stream's
variance from growing with depth: it receives 2 n_layers sums (GPT-2, section 2.3). "ours" divides by four more, so
that blocks do not drown the embedding at first: validation loss 2.06 against 2.24 with full-size blocks and 2.17 with
"gpt2" (Tiny Shakespeare by character, tied, 3 layers, d_model 96, 200 steps of 16 x 48; one seed). Zero was better
still, 2.04, but a model whose blocks do nothing hides mistakes from every test that builds one; "zero" is for recipes,
above all with Muon, whose updates have one size however small the weights are; its gains make the scores of normalised
queries and keys 1.44 times as large, so that attention starts less even. The price of "ours": with scale_embeddings
and a tied head the input token dominates the stream and is predicted at first (2.8 nats above guessing at d_model
512); "xavier" suits that shape.

"gpt2" is Hugging Face's and nanoGPT's; OpenAI's TensorFlow code drew position embeddings with 0.01. "xavier" is Glorot
and Bengio, 2010, with the embeddings of the original Transformer.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hornbook.config.optim import Role
from hornbook.models.roles import role_of


@dataclass(frozen=True)
class Normal:
    """Zero mean, standard deviation `std`."""

    std: float


@dataclass(frozen=True)
class Uniform:
    """On [-bound, bound]."""

    bound: float


@dataclass(frozen=True)
class Constant:
    """One value everywhere."""

    value: float


Law = Normal | Uniform | Constant


@dataclass(frozen=True)
class Place:
    """What a law may depend on. `fan_in` and `fan_out` are those of the linear layer that the parameter belongs to."""

    role: Role
    fan_in: int
    fan_out: int
    writes_residual: bool
    is_position: bool
    n_layers: int
    is_tied: bool


def _ours(place: Place) -> Law:
    if place.role == "embedding" and not place.is_position:
        # Tied, it is also the head: logits of normalised vectors start with standard deviation 0.5 at every width.
        return Normal(0.5 * place.fan_in**-0.5 if place.is_tied else 0.2)
    if place.role in ("embedding", "head"):
        return Normal(0.02)
    if place.role == "bias":
        return Constant(0.0)
    return Normal(place.fan_in**-0.5 * (0.25 * (2 * place.n_layers) ** -0.5 if place.writes_residual else 1.0))


def _zero(place: Place) -> Law:
    if place.role == "head" or place.writes_residual:
        return Constant(0.0)
    if place.role == "embedding" and not (place.is_position or place.is_tied):
        return Normal(0.5)
    return _ours(place)


def _torch_default(place: Place) -> Law:
    return Normal(1.0) if place.role == "embedding" else Uniform(place.fan_in**-0.5)


def _gpt2(place: Place) -> Law:
    if place.role == "bias":
        return Constant(0.0)
    return Normal(0.02 * ((2 * place.n_layers) ** -0.5 if place.writes_residual else 1.0))


def _xavier(place: Place) -> Law:
    if place.role == "bias":
        return Constant(0.0)
    if place.role == "embedding":
        return Normal(place.fan_in**-0.5)
    return Uniform(math.sqrt(6 / (place.fan_in + place.fan_out)))


QK_GAIN = {"zero": 1.2}
"""What the gains of QK-norm start at, where it is not 1."""

LAWS: dict[str, Callable[[Place], Law]] = {
    "ours": _ours,
    "zero": _zero,
    "torch_default": _torch_default,
    "gpt2": _gpt2,
    "xavier": _xavier,
}


@torch.no_grad()
def initialise(model: nn.Module, kind: str, *, seed: int) -> None:
    """Fills every parameter of a Transformer, in place, by the column `kind` of the table above.

    The same (kind, seed, shapes) give the same numbers on every device, whatever was drawn before.
    """
    law = LAWS[kind]
    names = [name for name, _ in model.named_parameters()]
    n_layers = sum(name.endswith(".o_proj.weight") for name in names)
    is_tied = "head.weight" not in names
    for owner, module in model.named_modules():
        parameters = dict(module.named_parameters(recurse=False))
        for suffix, parameter in parameters.items():
            name = f"{owner}.{suffix}"
            if role_of(f"{owner}.weight") == "norm":
                gain = QK_GAIN.get(kind, 1.0) if owner.endswith((".q_norm", ".k_norm")) else 1.0
                parameter.fill_(gain if suffix == "weight" else 0.0)
                continue
            if owner == "ngram_embedding":
                parameter.zero_()
                continue
            fan_out, fan_in = parameters["weight"].shape
            place = Place(
                role=role_of(name),
                fan_in=fan_in,
                fan_out=fan_out,
                writes_residual=owner.endswith((".o_proj", ".down_proj")),
                is_position=owner == "position_embedding",
                n_layers=n_layers,
                is_tied=is_tied,
            )
            parameter.copy_(drawn(law(place), parameter.shape, seed=seed, name=name))


def drawn(law: Law, shape: torch.Size, *, seed: int, name: str) -> Tensor:
    """The first numbers of the parameter `name`: float32, on the CPU, a function of the arguments alone."""
    return _draw(law, shape, _generator(seed, name))


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _draw(law: Law, shape: torch.Size, generator: torch.Generator) -> Tensor:
    values = torch.empty(shape, dtype=torch.float32, device="cpu")
    match law:
        case Normal(std):
            return values.normal_(0.0, std, generator=generator)
        case Uniform(bound):
            return values.uniform_(-bound, bound, generator=generator)
        case Constant(value):
            return values.fill_(value)
