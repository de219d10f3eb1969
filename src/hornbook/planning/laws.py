"""How large a model and how many tokens a budget of operations is best spent on, by laws that are named.

With N parameters, D tokens and C = 6 N D operations, a parametric law says loss = E + A / N^alpha + B / D^beta, in nats
per token of its authors' text and vocabulary. Minimised under C:

    N = G (C / 6)^(beta / (alpha + beta)),  D = C / (6 N),  G = (alpha A / (beta B))^(1 / (alpha + beta))

hoffmann    approach 3 of Hoffmann et al., 2022, arXiv:2203.15556, section 3.3
besiroglu   the same fitted again to the data of its figures: Besiroglu et al., 2024, arXiv:2404.10102, table 1. The
            published constants are rounded and came from a fit that had stopped too early; these agree with that
            paper's other two approaches
twenty      20 tokens a parameter, what those two approaches come to near 1e23 operations

All three come from models of 70 million parameters and more; for smaller ones they are extrapolated.
"""

import math
from dataclasses import dataclass

OPERATIONS = 6
"""For a parameter and token, forward and backward, attention's scores left out."""


@dataclass(frozen=True, kw_only=True)
class Law:
    """loss(N, D) = irreducible + a / N^alpha + b / D^beta."""

    name: str
    source: str
    irreducible: float
    a: float
    b: float
    alpha: float
    beta: float

    def loss(self, parameters: float, tokens: float) -> float:
        """Nats per token."""
        return float(self.irreducible + self.a / parameters**self.alpha + self.b / tokens**self.beta)

    def parameters(self, flops: float) -> float:
        """Of the model with the lowest loss for so many operations."""
        both = self.alpha + self.beta
        balance = (self.alpha * self.a / (self.beta * self.b)) ** (1 / both)
        return float(balance * (flops / OPERATIONS) ** (self.beta / both))

    def flops(self, parameters: float) -> float:
        """The budget for which a model of this size is the best."""
        both = self.alpha + self.beta
        balance = (self.alpha * self.a / (self.beta * self.b)) ** (1 / both)
        return float(OPERATIONS * (parameters / balance) ** (both / self.beta))


LAWS = (
    Law(
        name="besiroglu",
        source="arXiv:2404.10102",
        irreducible=1.8172,
        a=482.01,
        b=2085.43,
        alpha=0.3478,
        beta=0.3658,
    ),
    Law(name="hoffmann", source="arXiv:2203.15556", irreducible=1.69, a=406.4, b=410.7, alpha=0.34, beta=0.28),
)
TOKENS_PER_PARAMETER = 20


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """What one law would do with a budget."""

    law: str
    source: str
    flops: float
    parameters: float
    tokens: float
    loss: float | None
    """Nats per token as the law predicts it; the rule of thumb predicts none."""


def optima(*, flops: float | None = None, parameters: float | None = None) -> list[Optimum]:
    """Every law's answer for a budget, or the budget for which a model of that size is the best; give one of them."""
    assert (flops is None) != (parameters is None)
    found = []
    for law in LAWS:
        budget = law.flops(parameters) if flops is None and parameters is not None else flops
        assert budget is not None
        size = law.parameters(budget)
        tokens = budget / OPERATIONS / size
        found.append(
            Optimum(
                law=law.name,
                source=law.source,
                flops=budget,
                parameters=size,
                tokens=tokens,
                loss=law.loss(size, tokens),
            )
        )
    size = parameters if parameters is not None else math.sqrt((flops or 0.0) / OPERATIONS / TOKENS_PER_PARAMETER)
    tokens = TOKENS_PER_PARAMETER * size
    budget = OPERATIONS * size * tokens
    source = "arXiv:2203.15556, rule of thumb"
    rule = Optimum(law="twenty", source=source, flops=budget, parameters=size, tokens=tokens, loss=None)
    return [*found, rule]
