"""nanoGPT: in place of torch.save, a checkpoint as a safetensors file, which runs nothing when it is read."""

import json
from typing import Any

from safetensors.torch import save_file


def save(checkpoint: dict[str, Any], path: str) -> None:
    """The model's weights, and how it was made as JSON in the file's metadata."""
    weights = {name: value.detach().clone() for name, value in checkpoint["model"].items()}
    save_file(weights, path, metadata={"model_args": json.dumps(checkpoint["model_args"])})
