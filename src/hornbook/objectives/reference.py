"""What a policy is compared with: a frozen model beside it, or the policy without its adapters.

A reference is called with the policy and gives, for the time of a `with` block, the model to score by.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from hornbook.models.lora import lora_off
from hornbook.models.transformer import Transformer

Reference = Callable[[Transformer], AbstractContextManager[Transformer]]


def frozen(model: Transformer) -> Reference:
    """The reference `model`, from now on without dropout and gradients. It is nobody's parameter but its own."""
    model.eval().requires_grad_(False)

    @contextmanager
    def beside(policy: Transformer) -> Iterator[Transformer]:
        yield model

    return beside


@contextmanager
def without_adapters(policy: Transformer) -> Iterator[Transformer]:
    """The reference of a policy with LoRA adapters: what it was tuned from, on the same weights."""
    with lora_off(policy):
        yield policy
