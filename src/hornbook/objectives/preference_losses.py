"""What a pair costs by its margin: by how much more than the reference the policy prefers the chosen answer.

    margin m = (log pi(chosen) - log ref(chosen)) - (log pi(rejected) - log ref(rejected))

    with e = label_smoothing and s = log sigmoid                                  at m = 0
    sigmoid   -(1 - e) s(beta m) - e s(-beta m)                                   ln 2         arXiv:2305.18290, 7
    robust    (-(1 - e) s(beta m) + e s(-beta m)) / (1 - 2 e)                     ln 2         arXiv:2403.00409
    ipo       (m - 1 / (2 beta))^2                                                1/(4 beta^2) arXiv:2310.12036, 17
    hinge     max(0, 1 - beta m)                                                  1            arXiv:2305.10425

With e the sigmoid loss takes that share of the labels for wrong, so that a larger margin is not always
better (conservative DPO). The robust one has under that share of flipped labels the expectation that the plain loss has
under right ones; it has no lower bound.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hornbook.config.objective import PreferenceConfig


def preference_loss(margin: Float[Tensor, " b"], settings: PreferenceConfig) -> Float[Tensor, " b"]:
    """The loss of each pair."""
    beta, epsilon = settings.beta, settings.label_smoothing
    match settings.loss:
        case "sigmoid":
            return -(1.0 - epsilon) * F.logsigmoid(beta * margin) - epsilon * F.logsigmoid(-beta * margin)
        case "robust":
            right, wrong = -F.logsigmoid(beta * margin), -F.logsigmoid(-beta * margin)
            return ((1.0 - epsilon) * right - epsilon * wrong) / (1.0 - 2.0 * epsilon)
        case "ipo":
            return (margin - 1.0 / (2.0 * beta)).square()
        case "hinge":
            return F.relu(1.0 - beta * margin)
