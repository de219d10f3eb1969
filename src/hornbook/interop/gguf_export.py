"""A checkpoint as a GGUF file, which llama.cpp and what is built on it run.

Matrices are written as F32, BF16 or Q8_0 (blocks of 32 numbers with one scale); vectors and learned positions stay F32,
as llama.cpp's own converter leaves them. Adapters must be merged before (`Checkpoint.plain`).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from hornbook.checkpoint.load import Checkpoint
from hornbook.config.model import ModelConfig
from hornbook.errors import CheckpointError
from hornbook.interop.gguf_file import gguf_package, read_gguf
from hornbook.interop.gguf_import import weights_of
from hornbook.interop.gguf_layouts import architecture_of, metadata_of, rules_of, turned, written_weights
from hornbook.interop.gguf_rope import FACTORS, rope_factors
from hornbook.interop.gguf_tokenizer import tokenizer_fields
from hornbook.interop.names import expand, to_theirs
from hornbook.models.masks import CAUSAL, FULL
from hornbook.models.transformer import Transformer
from hornbook.storage.atomic import replacement
from hornbook.tokenizer.tokenizer import Tokenizer

GgufType = Literal["F32", "BF16", "Q8_0"]
OBJECTIVE = "hornbook.objective"
"""What the model was trained with, as JSON."""
_Q8_0_BLOCK = 32
_CHECK_TOKENS = 32


def export_gguf(checkpoint: Checkpoint, path: Path, *, kind: GgufType = "F32") -> dict[str, object]:
    """Write a checkpoint to a file and read it back; returns what there is to tell.

    F32 comes back bit for bit, which is checked; of the others is told the largest error of a weight, as a share of the
    largest weight of its tensor, and the largest difference of a logit on some tokens.

    Raises:
        CheckpointError: for a model that no architecture of llama.cpp computes, or a file that came back otherwise.
        TokenizerError: for a tokenizer that llama.cpp would run to other ids.
        StorageError: if the disk refuses.
        MissingExtraError: if the package `gguf` is not installed.
    """
    gguf = gguf_package()
    if path.exists():
        raise CheckpointError(f"{path}: exists already; choose another name or remove it")
    config, architecture = checkpoint.model_config, architecture_of(checkpoint)
    weights = written_weights(checkpoint, architecture)
    rules = expand(rules_of(architecture), config.n_layers)
    theirs = to_theirs(turned(weights, config, architecture, back=False), rules)
    if (factors := rope_factors(config)) is not None:
        theirs[FACTORS] = factors
    fields: dict[str, Any] = {}
    notes = ["it has no tokenizer: llama.cpp runs it on ids alone"]
    if checkpoint.tokenizer is not None:
        fields, notes = tokenizer_fields(checkpoint.tokenizer, n_ids=config.vocab_size)
    if architecture == "llada":
        notes.append(
            "llama.cpp samples diffusion models by llama-diffusion-cli alone; its server loads but does not run it"
        )
    elif checkpoint.objective.get("kind") == "joint":
        notes.append("llama.cpp runs it as an autoregressive model")
    with replacement(path) as temporary:
        writer = gguf.GGUFWriter(temporary, architecture)
        _write_metadata(writer, checkpoint, {**metadata_of(config, architecture), **fields}, kind, gguf)
        kinds = {name: _kind(name, tensor, kind) for name, tensor in theirs.items()}
        for name, tensor in theirs.items():
            quantisation = gguf.GGMLQuantizationType[kinds[name]]
            numbers = gguf.quants.quantize(tensor.float().contiguous().numpy(), quantisation)
            writer.add_tensor(name, numbers, raw_dtype=quantisation)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        error, difference = _differences(temporary, config, weights, sees_all=architecture == "llada")
        if kind == "F32" and max(error, difference) > 0:
            raise CheckpointError(
                f"{path}: came back from the disk with other weights; disk or memory is damaged. Nothing is kept"
            )
    if narrow := [name for name, own in kinds.items() if kind == "Q8_0" and own == "BF16"]:
        notes.append(
            f"{len(narrow)} matrices whose rows are no multiple of {_Q8_0_BLOCK} numbers are BF16: {narrow[0]}"
        )
    return {
        "architecture": architecture,
        "type": kind,
        "bytes": path.stat().st_size,
        "error": error,
        "largest_difference": difference,
        "notes": notes,
    }


def export_vocabulary(tokenizer: Tokenizer, path: Path) -> list[str]:
    """Write a tokenizer alone, as llama.cpp's vocabulary files are; returns what a reader must be told besides.

    Raises:
        TokenizerError: for a tokenizer that llama.cpp would run to other ids.
        StorageError: if the disk refuses.
        MissingExtraError: if the package `gguf` is not installed.
    """
    fields, notes = tokenizer_fields(tokenizer, n_ids=tokenizer.vocab_size)
    with replacement(path) as temporary:
        writer = gguf_package().GGUFWriter(temporary, "llama")
        _add(writer, {"llama.vocab_size": tokenizer.vocab_size, **fields})
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return notes


def _kind(name: str, tensor: Tensor, kind: GgufType) -> str:
    if tensor.dim() < 2 or name == "position_embd.weight":
        return "F32"
    return "BF16" if kind == "Q8_0" and tensor.shape[-1] % _Q8_0_BLOCK else kind


def _write_metadata(writer: Any, checkpoint: Checkpoint, fields: Mapping[str, Any], kind: GgufType, gguf: Any) -> None:
    writer.add_type("model")
    writer.add_name(checkpoint.path.resolve().parent.parent.name or "hornbook")
    writer.add_file_type(
        {
            "F32": gguf.LlamaFileType.ALL_F32,
            "BF16": gguf.LlamaFileType.MOSTLY_BF16,
            "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
        }[kind]
    )
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_string(OBJECTIVE, json.dumps(checkpoint.objective))
    _add(writer, fields)


def _add(writer: Any, fields: Mapping[str, Any]) -> None:
    for key, value in fields.items():
        match value:
            case bool():
                writer.add_bool(key, value)
            case int():
                writer.add_uint32(key, value)
            case float():
                writer.add_float32(key, value)
            case str():
                writer.add_string(key, value)
            case _:
                writer.add_array(key, value)


def _differences(
    path: Path, config: ModelConfig, weights: Mapping[str, Tensor], *, sees_all: bool
) -> tuple[float, float]:
    """Of a written file: the largest error of a weight, as a share of the largest of its tensor, and of a logit."""
    _, read = weights_of(read_gguf(path))
    shares = (
        ((read[name] - tensor).abs().max() / tensor.abs().max().clamp_min(torch.finfo(torch.float32).tiny)).item()
        for name, tensor in weights.items()
    )
    tokens = torch.randint(
        config.vocab_size, (1, min(_CHECK_TOKENS, config.context_length)), generator=torch.Generator().manual_seed(0)
    )
    logits = []
    for each in (weights, read):
        with torch.device("meta"):
            model = Transformer(config)
        full = {  # the file may lack biases that are all zero, and has those of GPT-2 always
            name: each.get(name, torch.zeros(parameter.shape, device="cpu"))
            for name, parameter in model.named_parameters()
        }
        model.load_state_dict(full, assign=True)
        with torch.inference_mode():
            logits.append(model.eval()(tokens, mask=FULL if sees_all else CAUSAL))
    return max(shares), (logits[0] - logits[1]).abs().max().item()
