"""A model under a name, with what its requests leave out, and what the server says of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hornbook.config.generate import GenerateConfig
from hornbook.errors import GenerationError
from hornbook.generation.choice import DecoderName, choose_decoder, decoder_name
from hornbook.generation.prompt_ids import check_vocabulary
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """What the server knows of a model."""

    name: str
    model: Transformer
    tokenizer: Tokenizer
    objective: Mapping[str, object]
    """What it was trained with: `kind` and settings."""
    path: Path
    created: int
    """Unix seconds: when its checkpoint was written."""
    config: GenerateConfig
    """For what a request does not say."""
    longest: int | None = None
    """Positions that a slot of an autoregressive model has, where that is less than the model's context."""

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing here.

        Raises:
            GenerationError: naming one.
        """
        check_vocabulary(self.model, self.tokenizer)
        choose_decoder(self.config, self.tokenizer, self.objective)
        useless = {
            'generate.strategy = "beam"': self.config.strategy == "beam",
            "[generate.draft]": self.config.draft.active,
            "generate.cache = false": not self.config.cache,
        }
        if found := [setting for setting, is_given in useless.items() if is_given]:
            raise GenerationError(f"{found[0]} is not for serving, where many texts share one decoder; leave it out")

    @property
    def decoder(self) -> DecoderName:
        """How its texts are made."""
        return decoder_name(self.config, self.objective)

    @property
    def context_length(self) -> int:
        """Positions that it can read here."""
        own = self.model.config.context_length
        return own if self.longest is None or self.decoder == "diffusion" else min(own, self.longest)

    def entry(self) -> dict[str, object]:
        """Its entry in /v1/models."""
        precision = self.config.precision if self.decoder == "autoregressive" else "float32"
        return {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "hornbook",
            "hornbook": {
                "objective": self.objective.get("kind", "next_token"),
                "decoder": self.decoder,
                "parameters": self.model.n_parameters,
                "context_length": self.context_length,
                "chat": self.tokenizer.chat_template is not None,
                "vocab_size": self.tokenizer.vocab_size,
                "precision": precision,
            },
        }


def fitting(config: GenerateConfig, objective: Mapping[str, object]) -> GenerateConfig:
    """Settings for models of both kinds without those that are of the other kind of decoder than this model's."""
    usual = GenerateConfig()
    kind = decoder_name(config, objective)
    others = (
        ("diffusion",)
        if kind == "autoregressive"
        else ("backend", "precision", "context_overflow", "repetition_penalty")
    )
    kept = {name: getattr(config, name) for name in config.model_fields_set if name not in others}
    return GenerateConfig.model_validate({**kept, **{name: getattr(usual, name) for name in others}})
