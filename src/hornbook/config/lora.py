"""`[lora]`: tune low-rank adapters beside frozen weights (Hu et al., 2021, arXiv:2106.09685)."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from hornbook.config.model import Architecture
from hornbook.config.table import Table

Target = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
Whole = Literal["token_embedding", "head"]


class LoraConfig(Table):
    """A weight W becomes W + (alpha / rank) B A; A and B are trained, W is not."""

    rank: PositiveInt = 8
    alpha: PositiveFloat = 16.0
    """The adapter's output is multiplied by alpha / rank."""
    targets: Annotated[tuple[Target, ...], Field(min_length=1)] = ("q_proj", "v_proj")
    """Linear layers that get an adapter, in every block."""
    also_train: tuple[Whole, ...] = ()
    """Matrices that are trained as a whole beside the adapters: needed where a chat template brings new tokens."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("targets", "also_train"):
            listed: tuple[str, ...] = getattr(self, name)
            if twice := [each for each in dict.fromkeys(listed) if listed.count(each) > 1]:
                raise ValueError(f"{name} lists {', '.join(twice)} twice; once is enough")
        return self

    def misfit(self, model: Architecture) -> str | None:
        """What this asks for and a model of that shape lacks, in words; None if nothing."""
        is_gated = model.feed_forward == "swiglu"
        legal = [name for name in get_args(Target) if is_gated or name != "gate_proj"]
        if absent := [name for name in self.targets if name not in legal]:
            return (
                f'lora.targets lists {", ".join(absent)}, and a model of feed_forward = "{model.feed_forward}" has '
                f"only {', '.join(legal)}; take it out"
            )
        if "head" in self.also_train and model.tie_embeddings:
            return (
                "lora.also_train lists head, and the model has none of its own: it shares the embedding "
                '(model.tie_embeddings); list "token_embedding" instead'
            )
        return None
