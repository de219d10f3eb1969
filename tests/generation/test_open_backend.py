"""Which backend serves which model, what is said of it, and that both give the same."""

import pytest

from hornbook.config.generate import GenerateConfig
from hornbook.errors import GenerationError
from hornbook.generation import open_backend as opening
from hornbook.generation.backends import Backend, Span
from hornbook.generation.open_backend import open_backend
from hornbook.generation.torch_backend import TorchBackend
from hornbook.models.transformer import Transformer
from tiny_models import tiny_config


def opened(model, **settings):
    told = []
    backend = open_backend(model, slots=2, max_length=8, config=GenerateConfig(**settings), note=told.append)
    assert isinstance(backend, Backend)
    return backend, told


@pytest.mark.parametrize(
    ("shape", "backend", "large", "name", "told"),
    [
        ({}, "auto", True, "kernel", []),
        ({}, "auto", False, "torch", []),
        ({}, "kernel", False, "kernel", []),
        ({}, "torch", True, "torch", []),
        ({"norm_position": "post"}, "torch", True, "torch", []),
        ({"norm_position": "post"}, "auto", False, "torch", []),
        (
            {"norm_position": "post"},
            "auto",
            True,
            "torch",
            ["decoding with torch: the kernels have no post-norm layers"],
        ),
    ],
)
def test_auto_takes_kernels_for_large_models_that_they_serve(monkeypatch, shape, backend, large, name, told):
    monkeypatch.setattr(opening, "WORTH_COMPILING", 1 if large else 10**9)
    model = Transformer(tiny_config(**shape)).eval()
    found, said = opened(model, backend=backend)
    assert (found.name, found.slots, found.max_length, said) == (name, 2, 8, told)


def test_kernels_that_do_not_serve_are_refused_when_asked_for():
    with pytest.raises(GenerationError, match="no post-norm layers"):
        opened(Transformer(tiny_config(norm_position="post")), backend="kernel")


@pytest.mark.parametrize("backend", ["kernel", "torch"])
def test_more_than_the_memory_holds_is_refused_before_it_is_taken(backend):
    model = Transformer(tiny_config()).eval()
    with pytest.raises(GenerationError, match=r"take .* GiB, and .* are free; decode fewer"):
        open_backend(model, slots=10**12, max_length=8, config=GenerateConfig(backend=backend), note=print)


@pytest.mark.parametrize("tie_embeddings", [True, False])
def test_int8_by_torch_is_int8_by_kernels(tie_embeddings):
    """The same rounded matrices, which shows: the kernels' keys and values in bfloat16 change less than they do."""
    model = Transformer(tiny_config(tie_embeddings=tie_embeddings, init="torch_default"), seed=1).eval()
    span = Span(slot=1, start=0, tokens=[1, 2, 3, 4, 5], every=True)
    exact = TorchBackend(model, slots=2, max_length=8).read([span])
    by_torch, by_kernel = (
        opened(model, backend=name, precision="int8")[0].read([span]) for name in ("torch", "kernel")
    )
    rounding = float((by_torch - exact).abs().max())
    assert 0 < rounding < 0.01 * float(exact.abs().max())
    assert float((by_torch - by_kernel).abs().max()) < 0.3 * rounding
