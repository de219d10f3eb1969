"""Keys and values that are kept: exact where they must be.

Of one layer, what a token gives to others depends on itself alone, so every cache is exact there. Of a block diffusion
model, finished blocks never look at later ones, so the cache of them is exact at any depth.
"""

from dataclasses import replace

import pytest

from diffusion_exactness.adapter import Sampling

PROMPT = (1, 2, 0, 3, 1)
"""Neither a multiple of the blocks nor shorter than one."""
SETTINGS = {
    "one a step": Sampling(new_tokens=24, block_length=8, remasking="low_confidence", temperature=0.0),
    "two a step, drawn": Sampling(new_tokens=24, block_length=8, steps=12, remasking="low_confidence"),
    "threshold": Sampling(
        new_tokens=24, block_length=8, remasking="low_confidence", temperature=0.0, confidence_threshold=0.3
    ),
    "random": Sampling(new_tokens=24, block_length=4, steps=12, remasking="random"),
}


def assert_equal(found, expected):
    """The same decisions in the same order, and float32 confidences to 1e-5."""
    assert [(own.positions, own.tokens) for own in found] == [(own.positions, own.tokens) for own in expected]
    for own, other in zip(found, expected, strict=True):
        assert own.confidences == pytest.approx(other.confidences, abs=1e-5)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("cache", ["prefix", "dual", "delayed"])
def test_of_one_layer_every_cache_is_exact(adapter, cache, name):
    model, template = adapter.network(layers=1, seed=1), [*PROMPT, *[None] * 24]
    plain = adapter.decisions(model, template, SETTINGS[name])
    assert_equal(adapter.decisions(model, template, replace(SETTINGS[name], cache=cache)), plain)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("layers", [2, 4])
def test_of_blocks_the_cache_is_exact(adapter, layers, name):
    model, template = adapter.network(layers=layers, seed=2), [*PROMPT, *[None] * 24]
    causal = replace(SETTINGS[name], is_block_causal=True)
    plain = adapter.decisions(model, template, causal)
    assert_equal(adapter.decisions(model, template, replace(causal, cache="prefix")), plain)


def test_a_network_of_several_layers_tells_a_stale_cache(adapter):
    """So the tests above could fail: with full attention and two layers, a cache within blocks is not exact."""
    model, template = adapter.network(layers=2, seed=3), [*PROMPT, *[None] * 24]
    plain, cached = (
        adapter.decisions(model, template, replace(SETTINGS["one a step"], cache=cache)) for cache in ("none", "prefix")
    )
    with pytest.raises(AssertionError):
        assert_equal(cached, plain)
