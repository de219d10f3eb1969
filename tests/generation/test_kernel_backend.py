"""The decoding kernels against the model itself, and against themselves in other batches, spans and threads."""

import gc
import math
import threading
from itertools import pairwise

import pytest
import torch

from hornbook.config.model import ModelConfig
from hornbook.errors import GenerationError
from hornbook.generation.backends import Backend, Span
from hornbook.generation.kernel_backend import KernelBackend, why_not
from hornbook.generation.kernels.layout import Field
from hornbook.models.quantise import quantise
from hornbook.models.transformer import Transformer

LENGTH = 70
VOCABULARY = 131
YARN = {"kind": "yarn", "factor": 4.0, "original_context_length": 16, "beta_fast": 4.0}
LLAMA = {"position": "rotary", "feed_forward": "swiglu", "n_kv_heads": 2}
SHAPES = {
    "llama": LLAMA,
    "gpt2": {
        "position": "learned",
        "feed_forward": "gelu_tanh",
        "norm": "layer_norm",
        "bias": True,
        "tie_embeddings": True,
        "init": "gpt2",
    },
    "demo": {
        "qk_norm": True,
        "feed_forward": "relu2",
        "logit_soft_cap": 15.0,
        "scale_embeddings": True,
        "n_kv_heads": 1,
    },
    "odd widths": {**LLAMA, "head_dim": 6, "d_model": 42, "d_ff": 59, "bias": True},
    "wide heads": {"position": "sinusoidal", "feed_forward": "gelu", "head_dim": 80, "norm": "layer_norm"},
    "scaled rotation": {**LLAMA, "rope_scaling": YARN},
    "no positions": {"position": "none", "feed_forward": "relu", "head_dim": 64},
}


def model_of(shape="llama", **changes):
    settings = {
        "vocab_size": VOCABULARY,
        "context_length": LENGTH,
        "d_model": 64,
        "n_layers": 2,
        "n_heads": 4,
        "n_kv_heads": 4,
        "head_dim": 16,
        "d_ff": 96,
        "tie_embeddings": False,
        "init": "torch_default",
    }
    model = Transformer(ModelConfig(**{**settings, **SHAPES[shape], **changes}), seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():  # gains that are all one and biases that are all zero would hide a mix-up
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def backend_of(model, *, precision="float32", threads=2, slots=4):
    return KernelBackend(model, slots=slots, max_length=LENGTH, precision=precision, threads=threads)


def tokens_of(rows, length=LENGTH):
    return torch.randint(0, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(3)).tolist()


@torch.inference_mode()
def exact_logits(model, tokens):
    """In float64."""
    twin = Transformer(model.config).double()
    twin.load_state_dict(model.state_dict())
    return twin(torch.tensor([tokens]))[0]


def with_stored_matrices(model, precision):
    """The model whose matrices are what a precision stores of them; embeddings are read as they are."""
    twin = Transformer(model.config)
    twin.load_state_dict(model.state_dict())
    if twin.head is None:  # the kernel looks tokens up in float32, and multiplies by what it stores
        twin.config = model.config
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if parameter.dim() == 2 and "embedding" not in name:
                stored = parameter.bfloat16().float() if precision == "bfloat16" else quantise(parameter).dequantised()
                parameter.copy_(stored)
    return twin


@pytest.mark.parametrize("shape", SHAPES)
def test_float32_errs_no_more_than_torch_does(shape):
    """Both round every product and sum once, in another order: the same error but for chance."""
    model, [tokens] = model_of(shape), tokens_of(1)
    exact = exact_logits(model, tokens)
    with torch.inference_mode():
        torch_error = (model(torch.tensor([tokens]))[0] - exact).square().mean().sqrt()
    ours = backend_of(model).read([Span(slot=2, start=0, tokens=tokens, every=True)])
    assert (ours - exact).square().mean().sqrt() <= 3 * torch_error
    assert ours.dtype == torch.float32


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
@pytest.mark.parametrize("shape", ["llama", "demo", "odd widths"])
def test_smaller_weights_stand_for_what_is_stored(shape, precision):
    """Beside the weights keys and values are rounded, and in bfloat16 the four inputs of products in a layer.

    Each rounding is at most 2^-9 of a number, and the head has one more. Widths of whole pairs take the processor's own
    products of bfloat16 where it has them; odd ones never do.
    """
    model, [tokens] = model_of(shape), tokens_of(1)
    exact = exact_logits(with_stored_matrices(model, precision), tokens)
    ours = backend_of(model, precision=precision).read([Span(slot=0, start=0, tokens=tokens, every=True)])
    n_roundings = 6 * model.config.n_layers + 1
    assert (ours - exact).square().mean().sqrt() <= n_roundings * 2**-9 * exact.square().mean().sqrt()
    assert not torch.equal(ours, backend_of(model).read([Span(slot=0, start=0, tokens=tokens, every=True)]))


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("shape", ["llama", "gpt2", "odd widths"])
def test_bits_do_not_depend_on_batch_span_or_threads(shape, precision):
    model, rows = model_of(shape), tokens_of(16)
    alone = backend_of(model, precision=precision, threads=1, slots=1)
    whole = [alone.read([Span(slot=0, start=0, tokens=row, every=True)]) for row in rows]
    together = backend_of(model, precision=precision, threads=3, slots=16)
    cuts = [0, 1, 4, 5, 37, LENGTH]
    for start, end in pairwise(cuts):
        for n_rows in (16, 7, 3, 1):  # the last ones are read again, which changes nothing
            got = together.read([Span(slot=r, start=start, tokens=rows[r][start:end]) for r in range(n_rows)])
            for r in range(n_rows):
                assert torch.equal(got[r], whole[r][end - 1]), (start, n_rows, r)


def test_what_was_read_is_replaced_from_where_it_is_read_again():
    model, (old, new) = model_of(), tokens_of(2)
    backend = backend_of(model)
    backend.read([Span(slot=1, start=0, tokens=old)])
    mixed = old[:20] + new[20:30]
    again = backend.read([Span(slot=1, start=20, tokens=new[20:30])])
    assert torch.equal(again, backend.read([Span(slot=0, start=0, tokens=mixed)]))


@pytest.mark.parametrize("length", [1, 16, 33])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_copied_prefix_is_as_if_read(length, precision):
    model, [tokens] = model_of(), tokens_of(1)
    backend = backend_of(model, precision=precision)
    whole = backend.read([Span(slot=3, start=0, tokens=tokens)])
    backend.read([Span(slot=0, start=0, tokens=tokens[::-1])])
    backend.copy(3, 0, length)
    assert torch.equal(backend.read([Span(slot=0, start=length, tokens=tokens[length:])]), whole)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_the_weights_are_those_of_when_the_backend_was_made(precision):
    model, [tokens] = model_of(), tokens_of(1, length=5)
    backend = backend_of(model, precision=precision)
    span = Span(slot=0, start=0, tokens=tokens)
    before = backend.read([span])
    with torch.no_grad():
        model.layers[1].feed_forward.down_proj.weight.mul_(2)
    assert torch.equal(backend.read([span]), before)
    assert not torch.equal(backend_of(model, precision=precision).read([span]), before)


@pytest.mark.parametrize(
    "span",
    [
        Span(slot=4, start=0, tokens=[1]),
        Span(slot=-1, start=0, tokens=[1]),
        Span(slot=0, start=LENGTH, tokens=[1]),
        Span(slot=0, start=-1, tokens=[1]),
        Span(slot=0, start=LENGTH - 2, tokens=[1, 2, 3]),
        Span(slot=0, start=0, tokens=[]),
    ],
)
def test_a_span_that_does_not_fit_is_refused(span):
    with pytest.raises(GenerationError, match="does not fit: there are 4 slots of 70 positions"):
        backend_of(model_of()).read([Span(slot=1, start=0, tokens=[1]), span])


@pytest.mark.parametrize("token", [-1, VOCABULARY])
def test_a_token_that_does_not_exist_is_refused(token):
    with pytest.raises(GenerationError, match=r"outside 0 \.\. 130"):
        backend_of(model_of()).read([Span(slot=0, start=0, tokens=[1, token])])


def test_learned_positions_end_with_their_table():
    model = model_of("gpt2", context_length=8)
    with pytest.raises(GenerationError, match="slots of 8 positions"):
        backend_of(model).read([Span(slot=0, start=0, tokens=[1] * 9)])


def test_what_the_kernels_do_not_serve():
    assert why_not(model_of(), "float32") is None
    for model, precision, reason in (
        (model_of(), "float16", "no precision float16"),
        (model_of().double(), "float32", "float64"),
        (model_of(norm_position="post"), "float32", "post-norm"),
        (model_of(ngram_length=2, ngram_rows=7), "float32", "n-gram"),
        (torch.nn.Linear(2, 2), "float32", "Linear"),
    ):
        assert reason in str(why_not(model, precision))
    with pytest.raises(GenerationError, match="use the torch backend"):
        backend_of(model_of(norm_position="post"))


def test_it_is_a_backend_whose_threads_leave_with_it():
    before = threading.active_count()
    backend = backend_of(model_of(), threads=3)
    assert isinstance(backend, Backend)
    assert threading.active_count() == before
    backend.read([Span(slot=0, start=0, tokens=[1])])
    assert threading.active_count() == before + 2
    del backend
    gc.collect()
    assert threading.active_count() == before


def test_a_thread_that_comes_late_does_nothing_of_a_step_that_is_over():
    """It runs through the step before while the next one, of more rows, is written down but has not begun."""
    model, tokens = model_of("llama"), tokens_of(4)
    spans = [Span(slot=slot, start=0, tokens=own[:20], every=True) for slot, own in enumerate(tokens[:3])]
    want = backend_of(model, threads=1).read(spans)
    backend = backend_of(model, threads=1)
    plan = backend._plan
    plan.share(2)  # memory for the one that is late
    backend.read([Span(slot=3, start=0, tokens=tokens[3][:2])])
    plan.fields[Field.ROWS] = plan.fields[Field.WANTED] = 60
    before = plan.counters.copy()
    late = threading.Thread(target=backend._take_part, args=(plan.address, 1, 0, 1))
    late.start()
    late.join(0.2)  # there it waits for the step that it takes for unfinished
    assert (plan.counters == before).all()
    assert torch.equal(backend.read(spans), want)
    late.join(10)
    assert not late.is_alive()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("shape", ["llama", "gpt2", "demo", "no positions"])
def test_damaged_weights_show_in_the_logits(shape, precision, bad):
    """Wherever the model itself shows them: nothing on the way makes numbers of them again."""
    tokens = [0, 0, 1]
    for name, _ in model_of(shape).named_parameters():
        model = model_of(shape)
        with torch.inference_mode():
            model.get_parameter(name).flatten()[0] = bad
            shows = not model(torch.tensor([tokens])).isfinite().all()
        span = Span(slot=0, start=0, tokens=tokens, every=True)
        logits = backend_of(model, precision=precision, threads=1).read([span])
        assert not shows or not logits.isfinite().all(), name
