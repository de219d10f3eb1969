"""Packed matrices: the same products to rounding, the same everything else, and the model itself left as it was."""

import pytest
import torch
from torch import nn

from hornbook.models import packed as packed_module
from hornbook.models.cache import KVCache
from hornbook.models.masks import FULL
from hornbook.models.packed import PackedLinear, packed
from hornbook.models.transformer import Transformer
from tiny_models import VOCABULARY, tiny_config

can_pack_bfloat16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
needs_bfloat16 = pytest.mark.skipif(not can_pack_bfloat16, reason="no bfloat16 products in oneDNN here")
DTYPES = [torch.float32, pytest.param(torch.bfloat16, marks=needs_bfloat16)]


def model(**settings: object) -> Transformer:
    return Transformer(tiny_config(init="torch_default", **settings), seed=1).eval()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [0, 1, 7, 32, 100, 301])
@pytest.mark.parametrize("bias", [False, True])
@torch.inference_mode()
def test_a_product_is_that_of_the_matrix(dtype: torch.dtype, rows: int, bias: bool) -> None:
    generator = torch.Generator().manual_seed(rows)
    weight, offset = torch.randn(48, 64, generator=generator), torch.randn(48, generator=generator)
    x = torch.randn(2, rows, 64, generator=generator).to(dtype)
    linear = PackedLinear(weight.to(dtype), offset.to(dtype) if bias else None)
    exact = x.double() @ weight.to(dtype).double().T + (offset.to(dtype).double() if bias else 0)
    # each of the sum's 64 roundings, and that of the result, is at most half an epsilon of sums of |x w| below 100
    assert linear(x).dtype == dtype
    rounding = 100 * 64 * torch.finfo(torch.float32).eps / 2 + exact.abs() * torch.finfo(dtype).eps / 2
    assert bool(((linear(x).double() - exact).abs() <= rounding).all())


def test_few_numbers_of_rows_are_multiplied_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is kept compiled, in memory that no request gives back."""
    linear, seen = PackedLinear(torch.eye(16)), set()
    monkeypatch.setattr(packed_module, "_filled", lambda n, real=packed_module._filled: seen.add(real(n)) or real(n))
    with torch.inference_mode():
        for rows in range(1, 600):
            assert linear(torch.ones(rows, 16)).shape == (rows, 16)
    assert len(seen) <= 13


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tie_embeddings": False, "bias": True, "norm": "layer_norm", "feed_forward": "gelu", "position": "learned"},
        {"n_kv_heads": 2, "qk_norm": True, "norm_position": "post", "logit_soft_cap": 5.0, "ngram_length": 2,
         "ngram_rows": 64},
    ],
)  # fmt: skip
@torch.inference_mode()
def test_a_packed_model_has_the_same_logits_with_a_cache_and_without(settings: dict[str, object]) -> None:
    own = model(**settings)
    twin = packed(own)
    tokens = torch.arange(2 * 12).view(2, 12) % VOCABULARY
    for only in (None, slice(-1, None), torch.tensor([[0, 5], [3, 2]])):
        torch.testing.assert_close(twin(tokens, mask=FULL, only=only), own(tokens, mask=FULL, only=only))
    caches = [KVCache(own.config, 2, 12) for _ in range(2)]
    for start, stop in ((0, 7), (7, 8), (8, 12)):
        logits = []
        for each, cache in zip((own, twin), caches, strict=True):
            logits.append(each(tokens[:, start:stop], cache=cache))
            cache.advance(stop - start)
        torch.testing.assert_close(*logits)


@torch.inference_mode()
def test_the_model_itself_stays_as_it_was() -> None:
    own = model()
    names, state = [name for name, _ in own.named_modules()], own.state_dict()
    twin = packed(own)
    assert [name for name, _ in own.named_modules()] == names
    assert all(torch.equal(value, state[name]) for name, value in own.state_dict().items())
    assert not any(type(each) is nn.Linear for each in twin.modules())
    assert sum(type(each) is PackedLinear for each in twin.modules()) == 2 * 7 + 1  # and the tied head
    assert twin.token_embedding.weight is own.token_embedding.weight


class Doubled(nn.Linear):
    """A linear layer that does more, as an adapter would."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input)


@torch.inference_mode()
def test_what_only_descends_from_a_linear_layer_is_left_alone() -> None:
    own = model()
    own.layers[0].feed_forward.up_proj = Doubled(16, 24, bias=False)
    tokens = torch.arange(6)[None]
    torch.testing.assert_close(packed(own)(tokens), own(tokens))


@torch.inference_mode()
def test_where_packing_is_impossible_the_model_serves_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packed(wide := model().double()) is wide
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert packed(own := model()) is own


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_an_accelerator_the_model_serves_as_it_is() -> None:
    assert packed(own := model().cuda()) is own
