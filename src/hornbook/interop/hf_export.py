"""A checkpoint of ours as a directory that transformers loads: weights, configuration, tokenizer and chat template.

What is written is read back before it appears at its place: by transformers where it is installed and knows the
layout, else by our own reader. The logits of both must be those of the checkpoint, its weights rounded to the dtype
that was written.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from hornbook.checkpoint.load import Checkpoint
from hornbook.config.model import ModelConfig
from hornbook.config.objective import BOUND_ALONE, likelihood_kind
from hornbook.errors import CheckpointError, TokenizerError
from hornbook.interop.chat_jinja import jinja_of
from hornbook.interop.hf import OBJECTIVE_KEY
from hornbook.interop.hf_check import check_written, splits_alike
from hornbook.interop.hf_layouts import bias_part, biased_parts, biases_written, config_to_hf, layout_for, misfits_of
from hornbook.interop.names import TABLES, expand, to_theirs
from hornbook.storage.atomic import commit_directory
from hornbook.storage.disk import explained
from hornbook.tokenizer.chat_template import CHAT_TEMPLATE, file_text
from hornbook.tokenizer.tokenizer import Tokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SHARD_BYTES = 5 * 10**9
"""Weights beyond this are spread over files of at most this size."""


def export_hf(
    checkpoint: Checkpoint,
    out: Path,
    *,
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    layout: str | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> dict[str, Any]:
    """Write the directory `out`, which must not exist, whole or not at all; returns what was written, for people.

    layout: one of `hf_layouts.LAYOUTS`; by default the one that fits.

    Raises:
        CheckpointError: listing what the layout does not have; or if what was written gives other logits.
        TokenizerError: for a tokenizer that a tokenizer.json cannot hold.
        StorageError: if the disk refuses, or `out` exists.
    """
    config, tokenizer = checkpoint.model_config, checkpoint.tokenizer
    if tokenizer is not None and tokenizer.vocab_size > config.vocab_size:
        raise CheckpointError(
            f"{checkpoint.path}: the tokenizer has {tokenizer.vocab_size} ids, the model only {config.vocab_size}; "
            "export a checkpoint whose tokenizer is the one that it was trained with"
        )
    kind = likelihood_kind(checkpoint.objective)
    weights = {name: checkpoint.weights[name] for name in checkpoint.weights}
    layout = _checked_layout(layout, config, weights, diffusion=kind in BOUND_ALONE)
    rounded = {name: tensor.to(DTYPES[dtype]) for name, tensor in weights.items()}
    described = config_to_hf(
        layout, config, dtype=dtype, biases=biased_parts(weights), ids=_special_ids(tokenizer, layout)
    )
    if kind != "next_token":
        described[OBJECTIVE_KEY] = {key: value for key, value in checkpoint.objective.items() if key != "preference"}
    with commit_directory(out) as directory:
        _write_weights(directory, _theirs(rounded, layout, config), shard_bytes)
        _write_json(directory / "config.json", described)
        if tokenizer is not None:
            _write_tokenizer(directory, tokenizer, config)
        if layout != "llada":
            _write_json(directory / "generation_config.json", _generation_config(tokenizer))
        notes = _notes(directory, layout, tokenizer)
        checked_by, difference = check_written(directory, layout, config, rounded)
    return {
        "layout": layout,
        "dtype": dtype,
        "checked_by": checked_by,
        "largest_difference": difference,
        "notes": notes,
    }


def _checked_layout(layout: str | None, config: ModelConfig, weights: Mapping[str, Tensor], *, diffusion: bool) -> str:
    if layout is None:
        return layout_for(config, weights, diffusion=diffusion)
    if problems := misfits_of(layout, config, weights):
        raise CheckpointError(f"the layout {layout} does not hold this model: {'; '.join(problems)}")
    return layout


def _theirs(weights: dict[str, Tensor], layout: str, config: ModelConfig) -> dict[str, Tensor]:
    """Tensors by their names, without biases that the layout leaves out, and zeros for those that only it has."""
    written = biases_written(layout, config, biased_parts(weights))
    kept = {
        name: tensor
        for name, tensor in weights.items()
        if not name.endswith("_proj.bias") or bias_part(name) in written
    }
    if layout == "gpt2" and not config.bias:
        for name, tensor in weights.items():
            if name.startswith(("layers.", "norm.")):
                kept[name.removesuffix("weight") + "bias"] = tensor.new_zeros(tensor.shape[0])
    return to_theirs(kept, expand(TABLES[layout], config.n_layers))


def _write_weights(directory: Path, tensors: Mapping[str, Tensor], shard_bytes: int) -> None:
    shards = list(_shards(tensors, shard_bytes))
    if len(shards) == 1:
        names = ["model.safetensors"]
    else:
        names = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    for file, shard in zip(names, shards, strict=True):
        with explained(directory / file):
            save_file({name: tensors[name].contiguous() for name in shard}, directory / file, metadata={"format": "pt"})
    if len(shards) > 1:
        total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        places = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
        _write_json(directory / "model.safetensors.index.json", index)


def _shards(tensors: Mapping[str, Tensor], most: int) -> Iterator[list[str]]:
    """Names of tensors in files of at most so many bytes; one that is larger has a file of its own."""
    shard: list[str] = []
    size = 0
    for name, tensor in tensors.items():
        n_bytes = tensor.numel() * tensor.element_size()
        if shard and size + n_bytes > most:
            yield shard
            shard, size = [], 0
        shard.append(name)
        size += n_bytes
    yield shard


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with explained(path):
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")


def _name_of(tokenizer: Tokenizer, token_id: int | None) -> str | None:
    return next((name for name, i in tokenizer.special_tokens.items() if i == token_id), None)


def _begin_id(tokenizer: Tokenizer) -> int | None:
    """What every text begins with, if one token does."""
    before = tokenizer.template.before
    return tokenizer.special_tokens.get(before[0]) if len(before) == 1 else None


def _special_ids(tokenizer: Tokenizer | None, layout: str) -> dict[str, int | None]:
    """As config.json has them; null where the tokenizer has none, or transformers would make some up."""
    if tokenizer is None:
        return {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    ids = {
        "bos_token_id": _begin_id(tokenizer),
        "eos_token_id": tokenizer.end_of_text_id,
        "pad_token_id": tokenizer.pad_id,
    }
    return {**ids, "mask_token_id": tokenizer.mask_id} if layout == "llada" else ids


def _generation_config(tokenizer: Tokenizer | None) -> dict[str, Any]:
    ids = _special_ids(tokenizer, "")
    ends = [ids["eos_token_id"]]
    if tokenizer is not None and tokenizer.chat_template is not None:
        ends.append(tokenizer.special_tokens[tokenizer.chat_template.stop])
    found = list(dict.fromkeys(i for i in ends if i is not None))
    known = {key: value for key, value in ids.items() if value is not None}
    return {**known, **({"eos_token_id": found if len(found) > 1 else found[0]} if found else {})}


def _write_tokenizer(directory: Path, tokenizer: Tokenizer, config: ModelConfig) -> None:
    names = {
        "bos_token": _name_of(tokenizer, _begin_id(tokenizer)),
        "eos_token": _name_of(tokenizer, tokenizer.end_of_text_id),
        "pad_token": _name_of(tokenizer, tokenizer.pad_id),
        "mask_token": _name_of(tokenizer, tokenizer.mask_id),
    }
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": config.context_length,
        **{key: name for key, name in names.items() if name is not None},
    }
    try:
        whole = tokenizer.to_hugging_face()
    except TokenizerError as error:
        raise TokenizerError(f"{error}; a model with such a tokenizer cannot be exported in this form") from None
    with explained(directory):
        (directory / "tokenizer.json").write_text(whole, encoding="utf-8", newline="\n")
        if tokenizer.chat_template is not None:
            settings["chat_template"] = jinja_of(tokenizer)
            ours = file_text(tokenizer.chat_template)  # for our own reader, which gets all of it back
            (directory / CHAT_TEMPLATE).write_text(ours, encoding="utf-8", newline="\n")
    _write_json(directory / "tokenizer_config.json", settings)


def _notes(directory: Path, layout: str, tokenizer: Tokenizer | None) -> list[str]:
    notes = []
    if layout == "llada":
        notes.append(
            "transformers reads this layout only with the remote code of a LLaDA repository (copy its *.py files here "
            "and add its auto_map to config.json); `hornbook import hf` reads it as it is"
        )
    if tokenizer is None:
        notes.append("the checkpoint has no tokenizer, so the directory has none")
    elif layout != "llada" and not splits_alike(directory, tokenizer):
        notes.append(
            f"AutoTokenizer splits text in its own way for {layout}: load the tokenizer with PreTrainedTokenizerFast, "
            "or choose another layout, such as --layout llama"
        )
    return notes
