"""Which decoder serves a model: by the settings, and by the objective that it was trained with."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from hornbook.config.generate import GenerateConfig
from hornbook.generation.autoregressive import Autoregressive
from hornbook.generation.block_diffusion import BlockDiffusion, DenoiseStep
from hornbook.tokenizer.tokenizer import Tokenizer

NEXT_TOKEN: Mapping[str, object] = MappingProxyType({"kind": "next_token"})
"""The objective of a model of which nothing else is known, as a checkpoint stores it."""


def choose_decoder(
    config: GenerateConfig,
    tokenizer: Tokenizer,
    objective: Mapping[str, object] = NEXT_TOKEN,
    *,
    on_step: Callable[[DenoiseStep], None] | None = None,
) -> Autoregressive | BlockDiffusion:
    """The decoder that `config` asks for, of a model trained with `objective` (a checkpoint's).

    Raises:
        GenerationError: for a decoder that the model was not trained for, a diffusion decoder without a mask token,
            and settings that have no effect with it.
    """
    raise NotImplementedError
