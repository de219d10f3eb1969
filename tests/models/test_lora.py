"""Adapters against the dense matrices that they stand for."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from hornbook.config.lora import LoraConfig
from hornbook.errors import ConfigError
from hornbook.models.accounting import adapter_parameters, flops_per_token, trained_parameters, training_flops_per_token
from hornbook.models.lora import LoraLinear, add_lora, lora_off, merge_lora, merged
from hornbook.models.memory import training_memory
from hornbook.models.transformer import Transformer, roles
from tiny_models import VOCABULARY, tiny_config, tiny_model

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
ALL = (*ATTENTION, "gate_proj", "up_proj", "down_proj")
SHAPES: tuple[dict[str, object], ...] = (
    {},
    {"n_kv_heads": 2, "bias": True, "head_dim": 6},
    {"tie_embeddings": False, "norm": "layer_norm", "position": "learned", "qk_norm": True},
)
TOKENS = torch.randint(VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(1))


def adapted(targets: tuple[str, ...] = ALL, *, rank: int = 3, move: bool = True, **shape: object) -> Transformer:
    """With `move`, the adapters are as if they had been trained."""
    model = tiny_model(**shape)
    add_lora(model, LoraConfig(rank=rank, alpha=5.0, targets=targets), seed=4)
    if move:
        rng = torch.Generator().manual_seed(9)
        for name, parameter in model.named_parameters():
            if name.endswith("lora_b"):
                parameter.data.normal_(0.0, 0.3, generator=rng)
    return model


def loss_and_gradients(model: Transformer) -> tuple[Tensor, dict[str, Tensor]]:
    loss = model(TOKENS[:, :-1], targets=TOKENS[:, 1:], chunk_tokens=10).nll.sum()
    model.zero_grad()
    loss.backward()
    return loss, {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return list(left) == list(right) and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_at_first_it_is_the_model_that_it_was_bit_for_bit(shape: dict[str, object], dtype: torch.dtype) -> None:
    model = tiny_model(**shape).to(dtype)
    before, weights = model(TOKENS), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    add_lora(model, LoraConfig(targets=ALL))
    assert torch.equal(model(TOKENS), before)
    plain = {name: tensor for name, tensor in model.state_dict().items() if "lora" not in name}
    assert same(plain, weights)
    assert same(merged(model.state_dict(), model.lora), weights)


def test_names_roles_and_what_is_trained() -> None:
    model = adapted(("q_proj", "down_proj"))
    trained = {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {
        f"layers.{layer}.{owner}.{name}": shape
        for layer in (0, 1)
        for owner, sides in (("attention.q_proj", (16, 16)), ("feed_forward.down_proj", (24, 16)))
        for name, shape in (("lora_a", (3, sides[0])), ("lora_b", (sides[1], 3)))
    }
    assert {role for name, role in roles(model).items() if name in trained} == {"matrix"}
    assert model.n_trained == sum(rows * columns for rows, columns in trained.values())
    assert model.n_parameters == tiny_model().n_parameters + model.n_trained


def test_the_first_numbers_depend_on_seed_and_name_alone() -> None:
    weights = adapted(move=False).state_dict()
    fewer = adapted(("v_proj",), move=False).state_dict()
    name = "layers.1.attention.v_proj.lora_a"
    assert torch.equal(weights[name], fewer[name])
    assert not torch.equal(weights[name], weights[name.replace("v_proj", "k_proj")])
    other = tiny_model()
    add_lora(other, LoraConfig(rank=3, targets=ALL), seed=5)
    assert not torch.equal(weights[name], other.state_dict()[name])
    wide = tiny_model(d_model=256, n_heads=4)
    add_lora(wide, LoraConfig(rank=64, targets=("q_proj",)))
    numbers = wide.state_dict()["layers.0.attention.q_proj.lora_a"]
    assert numbers.std().item() == pytest.approx(256**-0.5, rel=4 * (2 * numbers.numel()) ** -0.5)  # four sigma
    assert all(not tensor.any() for name, tensor in weights.items() if name.endswith("lora_b"))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_gradients_are_those_of_the_dense_matrix(shape: dict[str, object], activation_checkpointing: bool) -> None:
    model, dense = adapted(**shape), tiny_model(**shape)
    model.activation_checkpointing = activation_checkpointing
    dense.load_state_dict(dict(merged(model.state_dict(), model.lora)))
    expected, of_dense = loss_and_gradients(dense)
    loss, gradients = loss_and_gradients(model)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0.0)
    weights, scale = model.state_dict(), 5.0 / 3.0
    assert len(gradients) == 2 * 2 * len(ALL)
    for name, gradient in gradients.items():
        owner, _, kind = name.rpartition(".")
        a, b, whole = weights[f"{owner}.lora_a"], weights[f"{owner}.lora_b"], of_dense[f"{owner}.weight"]
        wanted = scale * (b.T @ whole if kind == "lora_a" else whole @ a.T)
        torch.testing.assert_close(gradient, wanted, rtol=1e-11, atol=1e-12)


# Sums of up to 24 terms, rounded to 2^-24 each, in another order; some ten products stand one behind another.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 10 * 24 * 2.0**-24)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_merged_logits_are_adapted_ones(shape: dict[str, object], dtype: torch.dtype, tolerance: float) -> None:
    model, plain = adapted(**shape).to(dtype), tiny_model(**shape).to(dtype)
    expected = model(TOKENS).detach()
    assert (expected - plain(TOKENS)).abs().max() > 0.1
    weights = merged(model.state_dict(), model.lora)
    plain.load_state_dict(dict(weights))
    assert (plain(TOKENS) - expected).abs().max() <= tolerance * expected.abs().max()
    merge_lora(model)
    assert same(model.state_dict(), weights)
    assert model.lora is None
    assert not any(isinstance(module, LoraLinear) for module in model.modules())
    assert torch.equal(model(TOKENS), plain(TOKENS))
    assert model.n_trained == plain.n_trained


def test_merging_nothing_is_nothing() -> None:
    weights = tiny_model().state_dict()
    assert merged(weights, None) is weights


class TestOff:
    def test_it_is_the_model_that_it_was(self) -> None:
        model = adapted()
        adapted_logits = model(TOKENS)
        with lora_off(model):
            off = model(TOKENS)
        assert torch.equal(off, tiny_model()(TOKENS))
        assert not off.requires_grad
        assert torch.equal(model(TOKENS), adapted_logits)

    def test_it_is_on_again_whatever_happened(self) -> None:
        model = adapted()
        before = model(TOKENS)
        with pytest.raises(KeyError), lora_off(model):
            raise KeyError
        assert torch.equal(model(TOKENS), before)

    @pytest.mark.parametrize("activation_checkpointing", [False, True])
    def test_between_forward_and_backward_it_changes_nothing(self, activation_checkpointing: bool) -> None:
        _, expected = loss_and_gradients(adapted().train())
        model = adapted().train()
        model.activation_checkpointing = activation_checkpointing
        loss = model(TOKENS[:, :-1], targets=TOKENS[:, 1:], chunk_tokens=10).nll.sum()
        with lora_off(model):
            model(TOKENS)
        loss.backward()
        found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
        assert same(found, expected)

    @pytest.mark.medium
    @pytest.mark.compiles
    @pytest.mark.parametrize("activation_checkpointing", [pytest.param(False, marks=pytest.mark.slow), True])
    def test_compiled_code_is_that_of_the_adapted_model(self, activation_checkpointing: bool) -> None:
        torch._dynamo.reset()
        expected, wanted = loss_and_gradients(adapted(qk_norm=True).train())
        reference = tiny_model(qk_norm=True)(TOKENS)
        model = adapted(qk_norm=True).train()
        model.activation_checkpointing, model.compiled = activation_checkpointing, True
        for _ in range(2):
            loss, gradients = loss_and_gradients(model)
            with lora_off(model):
                off = model(TOKENS)
            torch.testing.assert_close(off, reference, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
            assert gradients.keys() == wanted.keys()
            for name in wanted:
                torch.testing.assert_close(gradients[name], wanted[name], rtol=1e-12, atol=1e-12)


class TestWhatAModelLacks:
    @pytest.mark.parametrize("feed_forward", ["gelu", "relu2"])
    def test_a_gate(self, feed_forward: str) -> None:
        model = tiny_model(feed_forward=feed_forward)
        with pytest.raises(ConfigError, match=r"lists gate_proj, .* only q_proj, .*, up_proj, down_proj"):
            add_lora(model, LoraConfig(targets=("gate_proj", "q_proj")))
        assert model.n_trained == model.n_parameters

    def test_a_head(self) -> None:
        with pytest.raises(ConfigError, match="shares the embedding"):
            add_lora(tiny_model(), LoraConfig(also_train=("head",)))

    @pytest.mark.parametrize("twice", [{"targets": ("q_proj", "q_proj")}, {"also_train": ("head", "head")}], ids=str)
    def test_once_is_enough(self, twice: dict[str, tuple[str, ...]]) -> None:
        with pytest.raises(ValueError, match="twice"):
            LoraConfig.model_validate(twice)


def test_what_is_trained_as_a_whole() -> None:
    model = tiny_model(tie_embeddings=False)
    add_lora(model, LoraConfig(targets=("q_proj",), also_train=("token_embedding", "head")))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name in trained if "lora" not in name} == {"token_embedding.weight", "head.weight"}
    assert list(merged(model.state_dict(), model.lora)) == list(tiny_model(tie_embeddings=False).state_dict())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ALL, ("k_proj", "o_proj", "up_proj")], ids=len)
def test_numbers_are_known_from_the_shape(shape: dict[str, object], targets: tuple[str, ...]) -> None:
    config, also = tiny_config(**shape), ("token_embedding",)
    model = Transformer(config)
    lora = LoraConfig(rank=5, targets=targets, also_train=also)
    add_lora(model, lora)
    assert trained_parameters(config, lora) == model.n_trained
    assert adapter_parameters(config, lora) == model.n_trained - model.token_embedding.weight.numel()
    parts = training_memory(config, rows=1, half=False, state_tensors=2, chunk_tokens=32, lora=lora)
    assert parts["weights"] == 4 * model.n_parameters
    assert parts["gradients"] == 4 * model.n_trained
    assert parts["optimizer"] == 8 * model.n_trained
    assert trained_parameters(config, None) == Transformer(config).n_trained


def test_frozen_weights_save_a_forward() -> None:
    config = tiny_config()
    forward = sum(flops_per_token(config, context=8).values())
    assert training_flops_per_token(config, context=8, frozen=True) == 2 * forward
    assert training_flops_per_token(config, context=8, frozen=True, activation_checkpointing=True) == 3 * forward
