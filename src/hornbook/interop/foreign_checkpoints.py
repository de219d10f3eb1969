"""Checkpoints that torch.save wrote, read safely; those of nanoGPT and nanochat in our terms.

Such files are pickle, and pickle can run any program. They are read here, and only here, by torch's reader that builds
tensors, numbers and containers and refuses everything else (weights_only).

    nanoGPT     ckpt.pt                              GPT-2 with exact GELU, with or without biases
    nanochat    model_000000.pt, meta_000000.json    of 2025: QK-norm, ReLU squared, norms without gains, soft cap 15

Sources: https://github.com/karpathy/nanoGPT, https://github.com/karpathy/nanochat
"""

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from hornbook.errors import CheckpointError
from hornbook.interop.foreign_shapes import (
    bare_state,
    dictionary,
    imported_model,
    integer,
    model_config,
    ours_of,
    qkv_of,
    shapes_of,
    swapped,
)
from hornbook.interop.imported import Imported
from hornbook.interop.names import Rule


def load_safely(path: Path) -> dict[str, Any]:
    """The dictionary that torch.save wrote; tensors on the CPU.

    Raises:
        CheckpointError: if it is missing or damaged, holds anything else, or would have to run a program to be read.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; expected a checkpoint written by torch.save")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of torch's reader, of zip files, of anything that damaged bytes lead to
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path}: cannot be read safely ({reason}); it is damaged, or holds more than tensors, numbers and texts, "
            "which we never run: save its weights alone, in the program that made it"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}; expected a dictionary")
    return content


def import_nanogpt(path: Path, *, tokenizer: Path | None = None) -> Imported:
    """A ckpt.pt of nanoGPT.

    Raises:
        CheckpointError: as `load_safely`, or if it holds another model.
        TokenizerError: if the tokenizer cannot be read.
    """
    content = load_safely(path)
    shape, state = dictionary(content, "model_args", path), bare_state(dictionary(content, "model", path))
    state.pop("lm_head.weight", None)  # the embedding itself
    where = f"{path}: model_args"
    d_model, n_heads = integer(shape, "n_embd", where), integer(shape, "n_head", where)
    config = model_config(
        where,
        vocab_size=shape.get("vocab_size"),
        context_length=shape.get("block_size"),
        d_model=d_model,
        n_layers=shape.get("n_layer"),
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=d_model // n_heads,
        d_ff=4 * d_model,
        feed_forward="gelu",
        norm="layer_norm",
        position="learned",
        bias=shape.get("bias"),
    )
    layer = {"ln_1": "attention_norm", "ln_2": "feed_forward_norm", "attn.c_proj": "attention.o_proj"}
    layer |= {"mlp.c_fc": "feed_forward.up_proj", "mlp.c_proj": "feed_forward.down_proj"}
    rules = [Rule("transformer.wte.weight", ("token_embedding.weight",))]
    rules.append(Rule("transformer.wpe.weight", ("position_embedding.weight",)))
    for kind in ("weight", "bias"):
        rules.append(Rule(f"transformer.ln_f.{kind}", (f"norm.{kind}",)))
        rules.append(Rule(f"transformer.h.{{n}}.attn.c_attn.{kind}", qkv_of(kind)))
        rules += [Rule(f"transformer.h.{{n}}.{a}.{kind}", (f"layers.{{n}}.{b}.{kind}",)) for a, b in layer.items()]
    note = "give --tokenizer: gpt2's if it was trained on that, of characters if on those (its meta.pkl is never read)"
    return imported_model(path, config, ours_of(state, rules, config, path), tokenizer, note)


def import_nanochat(path: Path, *, tokenizer: Path | None = None) -> Imported:
    """A model_000000.pt of nanochat, with its meta_000000.json beside it.

    Its norm of the embeddings is applied to the table, its norms without gains get gains of 1, and rows of queries and
    keys change places, since it turns them the other way round.

    Raises:
        CheckpointError: as `load_safely`, or for a model of 2026, which has tensors that ours does not.
        TokenizerError: if the tokenizer cannot be read.
    """
    meta = path.with_name(path.name.replace("model_", "meta_", 1)).with_suffix(".json")
    shape, state = dictionary(_json(meta), "model_config", meta), bare_state(load_safely(path))
    if set(str(shape.get("window_pattern", "L")).upper()) != {"L"}:
        raise CheckpointError(
            f"{meta}: window_pattern = {shape['window_pattern']!r}: attention in windows is not supported"
        )
    where = f"{meta}: model_config"
    d_model, n_heads = integer(shape, "n_embd", where), integer(shape, "n_head", where)
    eps = torch.finfo(torch.float32).eps
    config = model_config(
        where,
        vocab_size=shape.get("vocab_size"),
        context_length=shape.get("sequence_len"),
        d_model=d_model,
        n_layers=shape.get("n_layer"),
        n_heads=n_heads,
        n_kv_heads=shape.get("n_kv_head"),
        head_dim=d_model // n_heads,
        d_ff=4 * d_model,
        feed_forward="relu2",
        norm_eps=eps,
        qk_norm=True,
        logit_soft_cap=15.0,
        tie_embeddings=False,
    )
    names = {f"attn.c_{letter}": f"attention.{letter}_proj" for letter in "qkv"}
    names |= {"attn.c_proj": "attention.o_proj"}
    names |= {"mlp.c_fc": "feed_forward.up_proj", "mlp.c_proj": "feed_forward.down_proj"}
    rules = [Rule("transformer.wte.weight", ("token_embedding.weight",)), Rule("lm_head.weight", ("head.weight",))]
    rules += [Rule(f"transformer.h.{{n}}.{a}.weight", (f"layers.{{n}}.{b}.weight",)) for a, b in names.items()]
    ours = ours_of(state, rules, config, path)
    for name, tensor in ours.items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            ours[name] = swapped(tensor, config.head_dim)
    for name in ("token_embedding.weight", "head.weight"):  # it rounds the number of rows up
        if name in ours:
            ours[name] = ours[name][: config.vocab_size].clone()
    table = ours.get("token_embedding.weight")
    if table is not None and table.shape[-1] == d_model:
        ours["token_embedding.weight"] = F.rms_norm(table, (d_model,), eps=eps)
    gains = {name: torch.ones(shape) for name, shape in shapes_of(config).items() if "norm." in name}
    note = "its tokenizer.pkl is a pickled program, which is never read: give its vocabulary by --tokenizer"
    return imported_model(path, config, {**gains, **ours}, tokenizer, note)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); it tells the shape of the model") from None
    return content if isinstance(content, dict) else {}
