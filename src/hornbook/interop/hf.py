"""Models of Hugging Face's Llama, Qwen, GPT-2 and LLaDA kinds, read from their files without transformers.

config.json --config_from_hf--> ModelConfig        *.safetensors --weights_from_hf--> our names --> Transformer
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hornbook.config.model import ModelConfig
from hornbook.config.objective import MaskedDiffusionConfig, ObjectiveConfig
from hornbook.distributed.full_state import misfits
from hornbook.errors import CheckpointError, TokenizerError
from hornbook.interop.chat_jinja import recognised
from hornbook.interop.foreign_shapes import shapes_of
from hornbook.interop.hf_config import config_from_hf
from hornbook.interop.imported import NEXT_TOKEN, Imported
from hornbook.interop.names import TABLES, expand, to_ours
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.chat_template import read_beside
from hornbook.tokenizer.tokenizer import Tokenizer

OBJECTIVE_KEY = "hornbook_objective"
"""In a config.json that we wrote: what the model was trained with, where that is not next-token prediction."""

_BUFFERS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")
"""Endings of what old files hold beside weights: causal masks and rotary frequencies."""


def import_hf(path: Path, source: str | None = None) -> Imported:
    """The model and tokenizer in a Hugging Face directory; `source` is what people call it (default: the path).

    Raises:
        CheckpointError: if a file is missing or broken, or asks for what we do not compute.
        TokenizerError: if its tokenizer is damaged, or none that we or the library `tokenizers` read.
    """
    raw = _read_json(path / "config.json")
    config = config_from_hf(raw)
    tokenizer, notes = _tokenizer(path, raw)
    longest = raw.get("max_position_embeddings")
    if isinstance(longest, int) and longest > config.context_length:
        notes.append(f"its attention slides: the context is the window, {config.context_length} of {longest} tokens")
    if tokenizer is not None and tokenizer.vocab_size > config.vocab_size:
        notes.append(f"its tokenizer has {tokenizer.vocab_size} ids and the model only {config.vocab_size}")
    return Imported(
        model_config=config,
        weights=weights_from_hf(_read_weights(path), config),
        tokenizer=tokenizer,
        objective=_objective(raw, tokenizer),
        source=source or str(path),
        notes=tuple(notes),
    )


def weights_from_hf(state_dict: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our float32 weights from a state dict of theirs; the family is told from the names.

    A tied head, stored or not, is dropped. Biases that a whole kind of linear layer lacks (Qwen 2 has those of queries,
    keys and values alone, Llama's attention_bias goes without mlp_bias) become zeros.

    Raises:
        CheckpointError: for tensors that no rule knows, fused ones of a wrong size, and sizes that no tensor has.
    """
    theirs = {name: tensor for name, tensor in state_dict.items() if not name.endswith(_BUFFERS)}
    if "wte.weight" in theirs:  # the original GPT-2 files are those of the body alone
        theirs = {f"transformer.{name}": tensor for name, tensor in theirs.items()}
    if config.tie_embeddings:
        theirs.pop("lm_head.weight", None)
    family = "gpt2" if "transformer.wte.weight" in theirs else "llama"
    if "model.transformer.wte.weight" in theirs:
        family = "llada"
        if config.tie_embeddings:
            theirs.pop("model.transformer.ff_out.weight", None)
    if config.n_layers > len(theirs):  # told before so many are built
        raise CheckpointError(f"{config.n_layers} layers, and only {len(theirs)} tensors in all; the files do not fit")
    shapes = shapes_of(config)
    rules = expand(TABLES[family], config.n_layers)
    ours, unknown = to_ours(theirs, rules, rows_of=lambda name: shapes[name][0])
    if unknown:
        raise CheckpointError(f"tensors that no {family} model of this shape has: {', '.join(unknown)}")
    if family != "gpt2":
        present = {name.rpartition("layers.")[2].partition(".")[2] for name in ours}
        for name, shape in shapes.items():
            if name.endswith("_proj.bias") and name.split(".", 2)[2] not in present:
                ours[name] = torch.zeros(shape)
    return {name: tensor.float() for name, tensor in ours.items()}


def load_hf_directory(path: Path) -> tuple[Transformer, dict[str, Any]]:
    """The model in a Hugging Face directory, and its config.json (which has the ids of its special tokens).

    Reads config.json and model.safetensors, or the files that model.safetensors.index.json lists.

    Raises:
        CheckpointError: if a file is missing or broken, or the weights do not fit the configuration.
    """
    raw = _read_json(path / "config.json")
    config = config_from_hf(raw)
    weights = weights_from_hf(_read_weights(path), config)
    with torch.device("meta"):
        model = Transformer(config)
    if problems := misfits(model.state_dict(), weights):
        raise CheckpointError(f"{path}: the weights do not fit config.json: {'; '.join(problems)}")
    model.load_state_dict(weights, assign=True)
    return model, raw


def _tokenizer(path: Path, raw: Mapping[str, Any]) -> tuple[Tokenizer | None, list[str]]:
    """The tokenizer with its chat template, and what people should know of it."""
    whole = path / "tokenizer.json"
    if not whole.exists() and not ((path / "vocab.json").exists() and (path / "merges.txt").exists()):
        return None, ["it has no tokenizer.json, so that it cannot read or write text here"]
    tokenizer = Tokenizer.load(whole if whole.exists() else path)
    notes = []
    settings = _read_json(path / "tokenizer_config.json") if (path / "tokenizer_config.json").exists() else {}
    ends = raw.get("eos_token_id")
    ends = [i for i in (ends if isinstance(ends, list) else [ends]) if isinstance(i, int)]
    program = _program(path, settings)
    template = read_beside(path)
    if template is None and program is not None:
        names = {key: _name(settings.get(key)) for key in ("bos_token", "eos_token")}
        template = recognised(program, tokenizer, **names)
        if template is None:
            notes.append("its chat template is none of ours: chat needs one that you give when tuning it")
    if template is not None:
        try:
            tokenizer = tokenizer.with_chat_template(template)
        except TokenizerError as error:
            notes.append(f"its chat template is left out: {error}")
    known = {tokenizer.end_of_text_id, None if template is None else tokenizer.special_tokens.get(template.stop)}
    if ends and not known & set(ends):
        notes.append(f"its end tokens, {ends}, have names that do not end a text here; give them as generate.stop")
    return tokenizer, notes


def _program(path: Path, settings: Mapping[str, Any]) -> str | None:
    """The chat template in Jinja, where newer or older versions put it; of several, the one called default."""
    if (path / "chat_template.jinja").exists():
        return (path / "chat_template.jinja").read_text(encoding="utf-8")
    program = settings.get("chat_template")
    if isinstance(program, list):
        named = {each.get("name"): each.get("template") for each in program if isinstance(each, dict)}
        program = named.get("default")
    return program if isinstance(program, str) else None


def _name(token: object) -> str:
    """A special token in tokenizer_config.json: its name, or an object that has it."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""


def _objective(raw: Mapping[str, Any], tokenizer: Tokenizer | None) -> dict[str, object]:
    """What the model was trained with: what we noted ourselves, or what its kind says."""
    noted = raw.get(OBJECTIVE_KEY)
    if noted is None and raw.get("model_type") != "llada":
        return NEXT_TOKEN
    mask = raw.get("mask_token_id")
    if tokenizer is not None and mask is not None and tokenizer.mask_id != mask:
        raise CheckpointError(
            f"config.json: mask_token_id = {mask}, but the tokenizer's mask token has the id {tokenizer.mask_id}; "
            "expected one token, <|mask|>, with that id"
        )
    if noted is None:
        return MaskedDiffusionConfig().model_dump(mode="json")
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(ObjectiveConfig)
        settings: dict[str, object] = adapter.validate_json(json.dumps(noted)).model_dump(mode="json")
    except ValidationError as error:
        raise CheckpointError(f"config.json: {OBJECTIVE_KEY}: {error.errors()[0]['msg']}") from None
    return settings


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); expected a Hugging Face model directory") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: got {type(content).__name__}, expected an object")
    return content


def _read_weights(path: Path) -> dict[str, Tensor]:
    index = path / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.exists():
        listed = _read_json(index).get("weight_map")
        if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
            raise CheckpointError(f"{index}: weight_map is {listed!r:.60}; expected an object of file names")
        names = sorted(set(listed.values()))
    elif not (path / names[0]).exists() and (old := [*path.glob("*.bin"), *path.glob("*.pth")]):
        raise CheckpointError(
            f"{path}: has {old[0].name} and no model.safetensors; a pickled file can run any program, so it is not "
            "read: save the model with safe_serialization=True"
        )
    weights: dict[str, Tensor] = {}
    for name in names:
        if not re.fullmatch(r"[\w.-]+", name) or Path(name).name != name:
            raise CheckpointError(f"{index}: {name!r} lies outside the directory; expected plain file names")
        try:
            weights.update(load_file(path / name))
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path / name}: cannot be read as safetensors ({error})") from None
    return weights
