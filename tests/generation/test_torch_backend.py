"""The torch backend against the model without a cache: every shape, any mixture of spans, copies, precisions."""

import pytest
import torch

from hornbook.config.model import ModelConfig
from hornbook.errors import GenerationError
from hornbook.generation.backends import Backend, Span
from hornbook.generation.torch_backend import TorchBackend
from hornbook.models.transformer import Transformer
from tiny_models import tiny_config, tiny_model

A, B = [1, 2, 3, 4, 5, 6, 7], [8, 9, 10]


def span(slot, start, tokens, *, every=False):
    return Span(slot=slot, start=start, tokens=tokens, every=every)


@torch.no_grad()
def after(model, tokens):
    """Logits after each of `tokens`, read anew."""
    return model(torch.tensor([tokens]))[0].float()


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"position": "learned", "n_kv_heads": 1, "bias": True, "norm": "layer_norm"},
        {"position": "sinusoidal", "norm_position": "post", "qk_norm": True},
        {"ngram_length": 3, "ngram_rows": 64, "logit_soft_cap": 5.0, "tie_embeddings": False},
    ],
)
def test_spans_of_several_slots_equal_the_whole_text_read_anew(shape, together):
    """Float64 leaves 1e-6 of float32 logits; prefill in pieces, decode, going back, and slots that were used before."""
    model = tiny_model(**shape)
    backend = TorchBackend(model, slots=3, max_length=9, together=together)
    assert isinstance(backend, Backend)
    got = backend.read([span(2, 0, A[:3]), span(0, 0, B[:2], every=True)])
    torch.testing.assert_close(got, torch.cat([after(model, A[:3])[-1:], after(model, B[:2])]))
    got = backend.read([span(0, 2, B[2:]), span(1, 0, A), span(2, 3, A[3:6], every=True)])
    expected = [after(model, B)[-1:], after(model, A)[-1:], after(model, A[:6])[3:]]
    torch.testing.assert_close(got, torch.cat(expected))
    got = backend.read([span(1, 2, [1, 1]), span(2, 6, A[6:])])  # back, and on
    torch.testing.assert_close(got, torch.cat([after(model, [*A[:2], 1, 1])[-1:], after(model, A)[-1:]]))
    backend.copy(2, 0, 5)
    torch.testing.assert_close(backend.read([span(0, 5, A[5:])]), after(model, A)[-1:])
    torch.testing.assert_close(backend.read([span(2, 7, B[:1])]), after(model, [*A, B[0]])[-1:])


def test_in_float32_a_span_has_the_same_bits_whatever_stands_beside_it():
    """Odd widths, where torch's vector loops end in scalar ones."""
    model = Transformer(tiny_config(d_ff=27, d_model=20, n_heads=2, head_dim=10)).eval()
    alone, beside = (TorchBackend(model, slots=4, max_length=16) for _ in range(2))
    for backend, others in ((alone, []), (beside, [span(0, 0, B), span(1, 0, A)])):
        backend.read([*others, span(3, 0, A)])
    for at, token in enumerate(B, start=7):
        others = [span(0, at, [token]), span(1, at, [3, 4], every=True)]
        wanted = alone.read([span(3, at, [token])])
        assert torch.equal(beside.read([span(3, at, [token]), *others])[:1], wanted)


def test_bfloat16_is_the_converted_model():
    model = Transformer(tiny_config()).eval()
    backend = TorchBackend(model, slots=2, max_length=8, precision="bfloat16")
    expected = after(Transformer(tiny_config()).eval().to(torch.bfloat16), A)
    assert model.token_embedding.weight.dtype == torch.float32
    got = backend.read([span(1, 0, A[:6], every=True), span(0, 0, B)])
    torch.testing.assert_close(got[:6], expected[:6], atol=0.02, rtol=0.02)  # 8 bits, a handful of roundings deep


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([span(0, 7, [1, 2])], "does not fit the 2 slots of 8 positions"),
        ([span(2, 0, [1])], "slot 2"),
        ([span(0, 0, [])], "0 tokens"),
        ([span(0, 0, [1]), span(0, 1, [1])], "same slot"),
    ],
)
def test_spans_that_cannot_be_read_are_refused(spans, message):
    backend = TorchBackend(tiny_model(), slots=2, max_length=8)
    with pytest.raises(GenerationError, match=message):
        backend.read(spans)


def test_more_positions_than_the_learned_table_has_are_refused():
    config: ModelConfig = tiny_config(position="learned")
    with pytest.raises(GenerationError, match="learned position table"):
        TorchBackend(Transformer(config), slots=1, max_length=config.context_length + 1)
