"""Name tables between Hugging Face checkpoints and ours, as data, and the small translator that reads them both ways.

A rule pairs one tensor of theirs with one of ours, or with several:

    Rule("model.layers.{n}.mlp.up_proj.weight", ("layers.{n}.feed_forward.up_proj.weight",))
    Rule("h.{n}.attn.c_attn.weight", (q, k, v), transposed=True)        one fused (in, out) matrix -> three (out, in)

`{n}` stands for every layer number. A fused tensor is cut along our first axis, in the sizes that the caller gives.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hornbook.errors import CheckpointError


@dataclass(frozen=True)
class Rule:
    """`theirs` holds `ours` joined along the first axis, then transposed if `transposed` (GPT-2's Conv1D)."""

    theirs: str
    ours: tuple[str, ...]
    transposed: bool = False


def _pairs(*pairs: tuple[str, str], transposed: bool = False) -> tuple[Rule, ...]:
    return tuple(Rule(theirs, (ours,), transposed) for theirs, ours in pairs)


def _with_bias(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """The same rules for ".bias" in place of ".weight"; a bias has nothing to transpose."""
    biases = (
        Rule(
            rule.theirs.removesuffix("weight") + "bias",
            tuple(name.removesuffix("weight") + "bias" for name in rule.ours),
        )
        for rule in rules
    )
    return (*rules, *biases)


LLAMA: tuple[Rule, ...] = (
    *_pairs(
        ("model.embed_tokens.weight", "token_embedding.weight"),
        ("model.norm.weight", "norm.weight"),
        ("lm_head.weight", "head.weight"),
        ("model.layers.{n}.input_layernorm.weight", "layers.{n}.attention_norm.weight"),
        ("model.layers.{n}.post_attention_layernorm.weight", "layers.{n}.feed_forward_norm.weight"),
        ("model.layers.{n}.self_attn.q_norm.weight", "layers.{n}.attention.q_norm.weight"),  # Qwen 3 has these two
        ("model.layers.{n}.self_attn.k_norm.weight", "layers.{n}.attention.k_norm.weight"),
    ),
    *_with_bias(
        _pairs(
            ("model.layers.{n}.self_attn.q_proj.weight", "layers.{n}.attention.q_proj.weight"),
            ("model.layers.{n}.self_attn.k_proj.weight", "layers.{n}.attention.k_proj.weight"),
            ("model.layers.{n}.self_attn.v_proj.weight", "layers.{n}.attention.v_proj.weight"),
            ("model.layers.{n}.self_attn.o_proj.weight", "layers.{n}.attention.o_proj.weight"),
            ("model.layers.{n}.mlp.gate_proj.weight", "layers.{n}.feed_forward.gate_proj.weight"),
            ("model.layers.{n}.mlp.up_proj.weight", "layers.{n}.feed_forward.up_proj.weight"),
            ("model.layers.{n}.mlp.down_proj.weight", "layers.{n}.feed_forward.down_proj.weight"),
        )
    ),
)

_GPT2_QKV = tuple(f"layers.{{n}}.attention.{letter}_proj.weight" for letter in "qkv")

GPT2: tuple[Rule, ...] = (
    *_pairs(
        ("transformer.wte.weight", "token_embedding.weight"),
        ("transformer.wpe.weight", "position_embedding.weight"),
        ("lm_head.weight", "head.weight"),
    ),
    *_with_bias(
        (
            *_pairs(
                ("transformer.ln_f.weight", "norm.weight"),
                ("transformer.h.{n}.ln_1.weight", "layers.{n}.attention_norm.weight"),
                ("transformer.h.{n}.ln_2.weight", "layers.{n}.feed_forward_norm.weight"),
            ),
            Rule("transformer.h.{n}.attn.c_attn.weight", _GPT2_QKV, transposed=True),
            *_pairs(
                ("transformer.h.{n}.attn.c_proj.weight", "layers.{n}.attention.o_proj.weight"),
                ("transformer.h.{n}.mlp.c_fc.weight", "layers.{n}.feed_forward.up_proj.weight"),
                ("transformer.h.{n}.mlp.c_proj.weight", "layers.{n}.feed_forward.down_proj.weight"),
                transposed=True,
            ),
        )
    ),
)

_BLOCK = "model.transformer.blocks.{n}"

LLADA: tuple[Rule, ...] = (
    *_pairs(
        ("model.transformer.wte.weight", "token_embedding.weight"),
        ("model.transformer.ln_f.weight", "norm.weight"),
        ("model.transformer.ff_out.weight", "head.weight"),
        (f"{_BLOCK}.attn_norm.weight", "layers.{n}.attention_norm.weight"),
        (f"{_BLOCK}.ff_norm.weight", "layers.{n}.feed_forward_norm.weight"),
    ),
    *_with_bias(
        _pairs(
            (f"{_BLOCK}.q_proj.weight", "layers.{n}.attention.q_proj.weight"),
            (f"{_BLOCK}.k_proj.weight", "layers.{n}.attention.k_proj.weight"),
            (f"{_BLOCK}.v_proj.weight", "layers.{n}.attention.v_proj.weight"),
            (f"{_BLOCK}.attn_out.weight", "layers.{n}.attention.o_proj.weight"),
            (f"{_BLOCK}.ff_proj.weight", "layers.{n}.feed_forward.gate_proj.weight"),
            (f"{_BLOCK}.up_proj.weight", "layers.{n}.feed_forward.up_proj.weight"),
            (f"{_BLOCK}.ff_out.weight", "layers.{n}.feed_forward.down_proj.weight"),
        )
    ),
)

TABLES: dict[str, tuple[Rule, ...]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), LLAMA),
    "gpt2": GPT2,
    "llada": LLADA,
}
"""By Hugging Face's `model_type`."""


def expand(rules: tuple[Rule, ...], n_layers: int) -> list[Rule]:
    """The rules with `{n}` replaced by every layer number."""
    return [
        Rule(
            rule.theirs.replace("{n}", str(n)),
            tuple(name.replace("{n}", str(n)) for name in rule.ours),
            rule.transposed,
        )
        for rule in rules
        for n in (range(n_layers) if "{n}" in rule.theirs else (0,))
    ]


def to_ours(
    theirs: Mapping[str, Tensor], rules: list[Rule], *, rows_of: Callable[[str], int]
) -> tuple[dict[str, Tensor], list[str]]:
    """Our tensors, and the names of theirs that no rule knows. Tensors that a rule expects and are absent are left out.

    rows_of: the length of the first axis of one of our tensors; asked only when a fused one is cut.
    Raises:
        CheckpointError: if a fused tensor does not have as many rows as its parts.
    """
    ours: dict[str, Tensor] = {}
    unknown = set(theirs)
    for rule in rules:
        if rule.theirs not in theirs:
            continue
        unknown.discard(rule.theirs)
        tensor = theirs[rule.theirs].t() if rule.transposed else theirs[rule.theirs]
        if len(rule.ours) == 1:
            ours[rule.ours[0]] = tensor.contiguous()
            continue
        sizes = [rows_of(name) for name in rule.ours]
        if sum(sizes) != tensor.shape[0]:
            raise CheckpointError(
                f"{rule.theirs}: got {tensor.shape[0]} fused rows, expected {' + '.join(map(str, sizes))}"
            )
        ours.update(zip(rule.ours, (part.contiguous() for part in torch.split(tensor, sizes)), strict=True))
    return ours, sorted(unknown)


def to_theirs(ours: Mapping[str, Tensor], rules: list[Rule]) -> dict[str, Tensor]:
    """Their tensors from ours: the inverse of `to_ours`. Rules whose tensors we do not have are skipped.

    Raises:
        CheckpointError: if a tensor of ours has no name there.
    """
    theirs: dict[str, Tensor] = {}
    unnamed = set(ours)
    for rule in rules:
        if not all(name in ours for name in rule.ours):
            continue
        unnamed.difference_update(rule.ours)
        joined = torch.cat([ours[name] for name in rule.ours]) if len(rule.ours) > 1 else ours[rule.ours[0]]
        theirs[rule.theirs] = (joined.t() if rule.transposed else joined).contiguous()
    if unnamed:
        raise CheckpointError(f"this format has no name for: {', '.join(sorted(unnamed))}")
    return theirs
