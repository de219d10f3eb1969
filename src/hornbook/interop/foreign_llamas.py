"""Checkpoints of plainLM and diffusionLM, whose models are Llama's kind, in our terms.

    plainLM       ckpt_step_0.pth, config.yaml     one matrix for q, k, v; mlp_class glu or mlp_relu_sq
    diffusionLM   model.safetensors, train.toml    trained by masking, by the next token, or by both

Both turn neighbours (2i, 2i + 1) of a head by the rotary angles; ours turn i and i + head_dim / 2.
Sources: https://github.com/Niccolo-Ajroldi/plainLM, https://github.com/triloy8/diffusionLM
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from hornbook.config.objective import JointConfig, MaskedDiffusionConfig
from hornbook.errors import CheckpointError
from hornbook.interop.foreign_checkpoints import load_safely
from hornbook.interop.foreign_shapes import (
    bare_state,
    dictionary,
    imported_model,
    in_halves,
    integer,
    model_config,
    ours_of,
    qkv_of,
)
from hornbook.interop.imported import NEXT_TOKEN, Imported
from hornbook.interop.names import Rule


def import_plainlm(path: Path, *, tokenizer: Path | None = None) -> Imported:
    """A ckpt_step_0.pth of plainLM, with its config.yaml beside it.

    Raises:
        CheckpointError: as `load_safely`, or for mlp_class = "mlp", whose activation (SiLU without a gate) is not ours.
        TokenizerError: if the tokenizer cannot be read.
    """
    state = bare_state(dictionary(load_safely(path), "state_dict", path))
    where, shape = f"{path.with_name('config.yaml')}", _flat_yaml(path.with_name("config.yaml"))
    kind = shape.get("mlp_class", shape.get("mlp"))
    activations = {"glu": "swiglu", "mlp_relu_sq": "relu2"}
    if kind not in activations:
        raise CheckpointError(f"{where}: mlp_class = {kind!r} is not supported; expected {' or '.join(activations)}")
    d_model, n_heads, inner = (
        integer(shape, "d_model", where),
        integer(shape, "n_heads", where),
        state.get("layers.0.mlp.fc2.weight"),
    )
    is_tied = torch.equal(state.get("lm_head.weight", torch.empty(0)), state.get("embed_tokens.weight", torch.empty(0)))
    config = model_config(
        where,
        vocab_size=integer(shape, "vocab_size", where),
        context_length=integer(shape, "seq_len", where),
        d_model=d_model,
        n_layers=integer(shape, "n_layers", where),
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=d_model // n_heads,
        d_ff=0 if inner is None else inner.shape[-1],
        feed_forward=activations[kind],
        norm_eps=1e-6,
        rope_theta=500_000.0,
        tie_embeddings=is_tied,
    )
    if is_tied:
        del state["lm_head.weight"]
    layer = {"attn_norm": "attention_norm", "mlp_norm": "feed_forward_norm", "attn.w_out": "attention.o_proj"}
    layer |= {"mlp.fc2": "feed_forward.down_proj"}
    up = ("gate_proj", "up_proj") if kind == "glu" else ("up_proj",)
    rules = [Rule("embed_tokens.weight", ("token_embedding.weight",)), Rule("out_norm.weight", ("norm.weight",))]
    rules.append(Rule("lm_head.weight", ("head.weight",)))
    rules.append(Rule("layers.{n}.attn.w_qkv.weight", qkv_of("weight")))
    rules.append(Rule("layers.{n}.mlp.fc1.weight", tuple(f"layers.{{n}}.feed_forward.{each}.weight" for each in up)))
    rules += [Rule(f"layers.{{n}}.{a}.weight", (f"layers.{{n}}.{b}.weight",)) for a, b in layer.items()]
    note = "it has no tokenizer: give the one that it was trained with by --tokenizer"
    return imported_model(path, config, in_halves(ours_of(state, rules, config, path), config), tokenizer, note)


def import_diffusionlm(path: Path, *, tokenizer: Path | None = None) -> Imported:
    """A versions/v000000 directory of diffusionLM, or its model.safetensors; train.toml lies in ../../config.

    Raises:
        CheckpointError: if it is missing or damaged, or a model of images.
        TokenizerError: if the tokenizer cannot be read.
    """
    file = path / "model.safetensors" if path.is_dir() else path
    settings = next(
        (p for p in (file.parent / "train.toml", file.parent.parent.parent / "config" / "train.toml") if p.is_file()),
        None,
    )
    if settings is None:
        raise CheckpointError(f"{file}: no train.toml beside it or in ../../config; it tells the shape of the model")
    try:
        whole, state = tomllib.loads(settings.read_text(encoding="utf-8")), bare_state(load_file(file))
    except (OSError, SafetensorError, ValueError) as error:  # ValueError: of tomllib
        raise CheckpointError(f"{file}: cannot be read ({error})") from None
    shape, training = dictionary(whole, "model", settings), dictionary(whole, "training", settings)
    objectives: dict[str, Mapping[str, object]] = {
        "ar": NEXT_TOKEN,
        "diffusion": MaskedDiffusionConfig().model_dump(mode="json"),
        "megadlm-diffusion": MaskedDiffusionConfig().model_dump(mode="json"),
        "joint-diffusion-ar": JointConfig().model_dump(mode="json"),
    }
    kind = str(training.get("objective", "diffusion")).lower()
    if kind not in objectives or shape.get("model_type", "lm") != "lm":
        raise CheckpointError(
            f"{settings}: objective = {kind!r} is not supported; expected {', '.join(objectives)}, on text"
        )
    where = f"{settings}: model"
    d_model, n_heads = integer(shape, "d_model", where), integer(shape, "num_heads", where)
    config = model_config(
        where,
        vocab_size=shape.get("vocab_size"),
        context_length=shape.get("context_length"),
        d_model=d_model,
        n_layers=shape.get("num_layers"),
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=d_model // n_heads,
        d_ff=shape.get("d_ff"),
        rope_theta=shape.get("rope_theta"),
        tie_embeddings=False,
    )
    names = {f"attn.{letter}_proj": f"attention.{letter}_proj" for letter in "qkv"}
    names |= {"attn.output_proj": "attention.o_proj", "ln1": "attention_norm", "ln2": "feed_forward_norm"}
    names |= {f"ffn.{a}": f"feed_forward.{b}_proj" for a, b in (("w1", "gate"), ("w2", "down"), ("w3", "up"))}
    top = {"token_embeddings": "token_embedding", "ln_final": "norm", "lm_head": "head"}
    rules = [Rule(f"{a}.weight", (f"{b}.weight",)) for a, b in top.items()]
    rules += [Rule(f"layers.{{n}}.{a}.weight", (f"layers.{{n}}.{b}.weight",)) for a, b in names.items()]
    note = "it has no tokenizer: give the directory with vocab.json, merges.txt and special_tokens.json by --tokenizer"
    made = imported_model(
        file, config, in_halves(ours_of(state, rules, config, file), config), tokenizer, note, objectives[kind]
    )
    if kind != "ar" and made.tokenizer is not None and made.tokenizer.mask_id != shape.get("mask_token_id"):
        raise CheckpointError(
            f"{settings}: mask_token_id = {shape.get('mask_token_id')}, the tokenizer's <|mask|> is "
            f"{made.tokenizer.mask_id}; do both belong together?"
        )
    return made


def _flat_yaml(path: Path) -> dict[str, str]:
    """The lines `key: value` of a file, which is all that plainLM writes; nested ones are not read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); it tells the shape of the model") from None
    found = re.findall(r"^(\w+):[ \t]*(.*?)[ \t]*(?:#.*)?$", text, re.MULTILINE)
    return {key: value.strip("'\"") for key, value in found}
