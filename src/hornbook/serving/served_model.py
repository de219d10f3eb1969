"""A model under a name, with what its requests leave out, and what the server says of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hornbook.config.generate import GenerateConfig
from hornbook.generation.choice import DecoderName, decoder_name
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

    @property
    def decoder(self) -> DecoderName:
        """How its texts are made."""
        return decoder_name(self.config, self.objective)

    @property
    def context_length(self) -> int:
        """Positions that it can read."""
        return self.model.config.context_length

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
