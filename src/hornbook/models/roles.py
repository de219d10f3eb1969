"""What a parameter is, told from its name, so that optimizers and initialisation need not know any module."""

from hornbook.config.optim import Role


def role_of(name: str) -> Role:
    """The role of the parameter `name`, such as "layers.3.attention.q_proj.weight" (a "matrix").

    A tied embedding is an "embedding"; biases of linear layers and of LayerNorm are "bias".
    """
    owner, kind = name.split(".")[-2:]
    if kind == "bias":
        return "bias"
    if owner == "norm" or owner.endswith("_norm"):
        return "norm"
    if owner.endswith("_embedding"):
        return "embedding"
    return "head" if owner == "head" else "matrix"
