"""Whether a Hugging Face directory that we wrote gives the logits of the model that it was made of."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from hornbook.config.model import ModelConfig
from hornbook.errors import CheckpointError
from hornbook.interop.hf import load_hf_directory
from hornbook.models.masks import CAUSAL, FULL
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer

_CHECK_TOKENS = 32
_SAMPLE = "It's 1234 times, isn't it?\n\n  Two  blanks; na\u00efve \u65e5\u672c \U0001f642"


def check_written(
    directory: Path, layout: str, config: ModelConfig, weights: Mapping[str, Tensor]
) -> tuple[Literal["transformers", "hornbook"], float]:
    """Who read the directory back, and the largest difference between its logits and those of `weights`.

    Raises:
        CheckpointError: if it is more than rounding.
    """
    generator = torch.Generator().manual_seed(0)
    n_tokens = min(_CHECK_TOKENS, config.context_length)
    tokens = torch.randint(config.vocab_size, (1, n_tokens), generator=generator)
    with torch.device("meta"):
        model = Transformer(config)
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
    reader: Literal["transformers", "hornbook"] = "hornbook"
    with torch.inference_mode():
        mask = FULL if layout == "llada" else CAUSAL
        expected = model.eval()(tokens, mask=mask)
        if layout != "llada" and importlib.util.find_spec("transformers") is not None:
            reader, got = "transformers", _logits_of_transformers(directory, tokens)
        else:
            got = load_hf_directory(directory)[0].eval()(tokens, mask=mask)
    difference = (got - expected).abs().max().item()
    # Two orders of summing: about the square root of their length in roundings, for each of 2 n_layers + 1 sublayers.
    longest = max(config.d_model, config.d_ff, n_tokens)
    allowed = 2**-23 * 8 * longest**0.5 * (2 * config.n_layers + 1) * max(1.0, expected.abs().max().item())
    if not difference <= allowed:
        raise CheckpointError(
            f"what was written gives other logits in {reader}: they differ by {difference:.3g}, more than the rounding "
            f"of {allowed:.3g}; nothing was kept. Please report this with the checkpoint's model.json"
        )
    return reader, difference


def _logits_of_transformers(directory: Path, tokens: Tensor) -> Tensor:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        str(directory), dtype=torch.float32, attn_implementation="eager", local_files_only=True
    )
    logits: Tensor = theirs.eval()(tokens).logits
    return logits


def splits_alike(directory: Path, tokenizer: Tokenizer) -> bool:
    """Whether transformers' AutoTokenizer gives our ids; it replaces the splitting of some kinds by that of its own.

    True where transformers is not installed, or cannot read the directory's kind without remote code.
    """
    if importlib.util.find_spec("transformers") is None:
        return True
    import transformers

    theirs = transformers.AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
    return bool(list(theirs(_SAMPLE)["input_ids"]) == tokenizer.encode(_SAMPLE, template=True))
