"""transformers, litgpt or nanoGPT: a training step with torch's fused AdamW, in the fastest of the library's modes.

A trial before the first block finds that mode: first float32 and bf16 autocast, eagerly, with each form of attention
that the library offers, then with torch.compile the two fastest of these, a mode that is far behind aside.
"""

import importlib.util
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

FAR_BEHIND = 1.5
"""A mode that takes so many times as long as the fastest is not tried further."""
TRIALS = 3


class Mode(NamedTuple):
    """A way to run the step."""

    precision: str
    attention: str
    compiled: bool = False

    def __str__(self) -> str:
        words = (self.precision, self.attention, "compiled" if self.compiled else "eager")
        return " ".join(word for word in words if word)


class Library(NamedTuple):
    """A model and what can be chosen about it."""

    model: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    """Of (B, T) inputs and targets: the mean cross-entropy."""
    attentions: tuple[str, ...] = ("",)
    choose: Callable[[str], None] = lambda _: None
    """Switch to one of the forms of attention."""


def setup(settings: dict[str, Any]) -> tuple[Callable[[], float], Callable[[float], dict[str, Any]]]:
    """The loss that is compared is that before any step, in float32."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    library: Library = globals()[f"_{settings['library']}"](settings)
    model = library.model.to(device).train()
    inputs, targets = _tokens(settings, device)
    with torch.no_grad():
        first = library.loss(inputs, targets).item()
    torch.set_float32_matmul_precision("medium")  # oneDNN's products where they are faster; TF32 or better on CUDA
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings["learning_rate"], weight_decay=0.1, fused=True)
    compiled = torch.compile(lambda: library.loss(inputs, targets), dynamic=False)

    def steps(mode: Mode, count: int) -> float:
        value = torch.tensor(float("nan"))
        for _ in range(count):
            with torch.autocast(device, torch.bfloat16, enabled=mode.precision == "bf16"):
                value = compiled() if mode.compiled else library.loss(inputs, targets)
            value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return value.item()

    mode, said = _fastest(library, steps, max(1, settings["steps"] // 8), settings["rows"] * settings["context"])
    library.choose(mode.attention)
    facts = {"loss": first, "parameters": sum(p.numel() for p in model.parameters()), "said": said}
    return (lambda: steps(mode, settings["steps"])), lambda loss: {**facts, "learns": loss < first}


def _tokens(settings: dict[str, Any], device: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (settings["rows"], settings["context"] + 1)
    tokens = torch.randint(0, settings["table"]["vocab_size"], shape, generator=generator).to(device)
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def _mean(logits: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def _fastest(library: Library, steps: Callable[[Mode, int], float], count: int, tokens_a_step: int) -> tuple[Mode, str]:
    """The mode of the shortest trial, and all trials in words."""

    found: dict[Mode, float] = {}

    def try_out(mode: Mode) -> None:
        library.choose(mode.attention)
        steps(mode, 2 if mode.compiled else 1)
        best = float("inf")
        for _ in range(TRIALS):
            begun = time.perf_counter()
            steps(mode, count)
            best = min(best, (time.perf_counter() - begun) / count)
            if best > FAR_BEHIND * min([*found.values(), best]):
                break
        found[mode] = best

    eager = [Mode(*pair) for pair in itertools.product(("bf16", "fp32"), library.attentions)]
    for mode in eager:
        try_out(mode)
    best_two = sorted(eager, key=found.__getitem__)[:2]
    worth = [mode for mode in best_two if found[mode] <= FAR_BEHIND * found[best_two[0]]]
    failed = []
    for mode in [mode._replace(compiled=True) for mode in worth]:
        try:
            try_out(mode)
        except Exception as error:  # noqa: BLE001  # what cannot be compiled runs eagerly
            failed.append(f"{mode}: {type(error).__name__}")
    best = min(found, key=found.__getitem__)
    trials = [f"{mode} {tokens_a_step / taken:,.0f}" for mode, taken in found.items()]
    return best, f"{best}; trial in tokens/s {', '.join([*trials, *failed])}"


def _transformers(settings: dict[str, Any]) -> Library:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(settings["model"])
    return Library(
        model,
        lambda inputs, targets: _mean(model(input_ids=inputs, use_cache=False).logits, targets),
        ("sdpa", "eager"),
        model.set_attn_implementation,
    )


def _litgpt(settings: dict[str, Any]) -> Library:
    from litgpt.config import Config
    from litgpt.model import GPT
    from safetensors.torch import load_file

    table = settings["table"]
    theirs = load_file(Path(settings["model"]) / "model.safetensors")
    config = Config(
        block_size=settings["context"],
        n_layer=table["n_layers"],
        n_embd=table["d_model"],
        n_head=table["n_heads"],
        vocab_size=table["vocab_size"],
        padded_vocab_size=table["vocab_size"],
        intermediate_size=theirs["model.layers.0.mlp.up_proj.weight"].shape[0],
        norm_class_name="RMSNorm",
        norm_eps=table["norm_eps"],
        mlp_class_name="LLaMAMLP",
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
    )
    model = GPT(config)
    model.lm_head.weight = model.transformer.wte.weight
    model.load_state_dict(_litgpt_weights(theirs, table["n_layers"]))
    return Library(model, lambda inputs, targets: _mean(model(inputs), targets))


def _litgpt_weights(theirs: dict[str, Tensor], n_layers: int) -> dict[str, Tensor]:
    """From transformers' names: queries, keys and values in one matrix, one after the other."""
    embedding = theirs["model.embed_tokens.weight"]
    weights = {
        "lm_head.weight": embedding,
        "transformer.wte.weight": embedding,
        "transformer.ln_f.weight": theirs["model.norm.weight"],
    }
    names = {
        "attn.proj": "self_attn.o_proj",
        "mlp.fc_1": "mlp.gate_proj",
        "mlp.fc_2": "mlp.up_proj",
        "mlp.proj": "mlp.down_proj",
        "norm_1": "input_layernorm",
        "norm_2": "post_attention_layernorm",
    }
    for layer in range(n_layers):
        here, there = f"transformer.h.{layer}", f"model.layers.{layer}"
        weights |= {f"{here}.{name}.weight": theirs[f"{there}.{other}.weight"] for name, other in names.items()}
        qkv = [theirs[f"{there}.self_attn.{part}_proj.weight"] for part in "qkv"]
        weights[f"{here}.attn.qkv.weight"] = torch.cat(qkv)
    return weights


def _nanogpt(settings: dict[str, Any]) -> Library:
    from safetensors.torch import load_file

    table, file = settings["table"], Path(settings["checkout"]) / "model.py"
    spec = importlib.util.spec_from_file_location("nanogpt_model", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.GPT(
        module.GPTConfig(
            block_size=settings["context"],
            vocab_size=table["vocab_size"],
            n_layer=table["n_layers"],
            n_head=table["n_heads"],
            n_embd=table["d_model"],
            dropout=0.0,
            bias=True,
        )
    )
    theirs = load_file(Path(settings["model"]) / "model.safetensors")
    transposed = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")  # its Conv1D
    weights = {name: value.t() if name.endswith(transposed) else value for name, value in theirs.items()}
    model.load_state_dict({**weights, "lm_head.weight": weights["transformer.wte.weight"]}, strict=False)
    return Library(model, lambda inputs, targets: model(inputs, targets)[1])
