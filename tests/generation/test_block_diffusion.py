"""Block diffusion decoding equals a loop written from the definition, for every cache, in a batch and alone."""

import pytest
import torch

from hornbook.config.generate import DenoisingConfig, SamplingConfig
from hornbook.config.model import ModelConfig
from hornbook.errors import GenerationError
from hornbook.generation.block_diffusion import BlockDiffusion
from hornbook.generation.decoder import NO_TOKEN
from hornbook.generation.noise import gumbel, order_noise
from hornbook.models.masks import FULL, AttentionMask
from hornbook.models.transformer import Transformer

MASK = 30
PROMPTS = [[1, 2, 3, 4, 5], [6], [7, 8, 9]]
SEEDS = [0, 1, 2]
WARM, GREEDY = SamplingConfig(temperature=1.0), SamplingConfig(temperature=0.0)


def another(model, **changes) -> Transformer:
    """New weights in the shape of `model`, or nearly."""
    return Transformer(ModelConfig(**{**dict(model.config), **changes}), seed=5).double()


def decode(model, prompts, seeds, *, sampling=WARM, new=7, stop_ids=(), causal=None, heard=None, **settings):
    """(tokens, reason) of each row."""
    on_step = None if heard is None else heard.append
    decoder = BlockDiffusion(
        sampling, DenoisingConfig(**settings), mask_id=MASK, causal_block_length=causal, on_step=on_step
    )
    rows, reasons = [[] for _ in prompts], []
    for chunk in decoder(model, prompts, max_new_tokens=new, stop_ids=stop_ids, seeds=seeds):
        assert chunk.tokens.shape == chunk.logprobs.shape
        assert chunk.finished.tolist() == [reason is not None for reason in chunk.reasons]
        for row, tokens in zip(rows, chunk.tokens.tolist(), strict=True):
            row += [token for token in tokens if token != NO_TOKEN]
        reasons = list(chunk.reasons)
    return list(zip(rows, reasons, strict=True))


@torch.no_grad()
def by_definition(model, prompt, seed, *, sampling=WARM, new=7, block_length=3, per_step=1, remasking="low_confidence",
                  causal=None, scale=0.0):  # fmt: skip
    """One row without stops: the whole of it is read anew in every step, and every logit computed."""
    end = len(prompt) + new
    stop = -(-end // causal) * causal if causal else end
    x = torch.tensor([[*prompt, *[MASK] * (stop - len(prompt))]])
    known = torch.arange(stop) < len(prompt)
    first = len(prompt) // causal * causal if causal else len(prompt)
    mask, step = (AttentionMask("block_causal", block_length=causal) if causal else FULL), 0
    for start in range(first, stop, causal or block_length):
        block = torch.zeros(stop, dtype=torch.bool)
        block[start : start + (causal or block_length)] = True
        while (holes := (block & ~known).nonzero()[:, 0].tolist()) and any(hole < end for hole in holes):
            logits = model(x, mask=mask)[0, holes]
            if scale:
                bare = x.clone()
                bare[0, : len(prompt)] = MASK
                other = model(bare, mask=mask)[0, holes]
                logits = other + (scale + 1) * (logits - other)
            logits[:, MASK] = -torch.inf
            noised = (
                logits / sampling.temperature + gumbel(seed, holes, step=step, n=31) if sampling.temperature else logits
            )
            tokens = noised.argmax(-1)
            p = logits.softmax(-1)
            sure = {
                "low_confidence": p[range(len(holes)), tokens],
                "margin": p.sort(descending=True).values[:, 0] - p.sort(descending=True).values[:, 1],
                "entropy": (p * p.clamp(min=1e-300).log()).sum(-1),
                "random": torch.tensor(order_noise(seed, holes, step=step)),
            }[remasking]  # fmt: skip
            for i in sure.argsort(descending=True, stable=True)[:per_step].tolist():
                x[0, holes[i]], known[holes[i]] = tokens[i], True
            step += 1
    return x[0, len(prompt) : end].tolist()


@pytest.mark.parametrize("remasking", ["low_confidence", "random", "entropy", "margin"])
@pytest.mark.parametrize("sampling", [WARM, GREEDY])
def test_a_ragged_batch_equals_the_definition_row_by_row(model, sampling, remasking):
    if model.config.position == "none" and remasking != "random":
        pytest.skip("without positions all masks of a row are alike, and rounding decides between them")
    batch = decode(model, PROMPTS, SEEDS, sampling=sampling, block_length=3, remasking=remasking)
    for (tokens, reason), prompt, seed in zip(batch, PROMPTS, SEEDS, strict=True):
        assert tokens == by_definition(model, prompt, seed, sampling=sampling, remasking=remasking)
        assert reason == "length"


@pytest.mark.parametrize("cache", ["none", "prefix"])
def test_a_block_diffusion_model_is_decoded_exactly_with_its_cache(model, cache):
    batch = decode(model, PROMPTS, SEEDS, new=6, causal=4, cache=cache)
    for (tokens, _), prompt, seed in zip(batch, PROMPTS, SEEDS, strict=True):
        assert tokens == by_definition(model, prompt, seed, new=6, causal=4)


def test_several_tokens_a_step(rotary_model):
    batch = decode(rotary_model, PROMPTS, SEEDS, new=6, block_length=6, denoise_steps=2)
    for (tokens, _), prompt, seed in zip(batch, PROMPTS, SEEDS, strict=True):
        assert tokens == by_definition(rotary_model, prompt, seed, new=6, block_length=6, per_step=3)


@pytest.mark.parametrize("cache", ["prefix", "dual", "delayed"])
@pytest.mark.parametrize("scale", [0.0, 1.5])
def test_a_cached_row_is_the_same_alone_and_in_a_ragged_batch(model, cache, scale):
    settings = {"block_length": 3, "cache": cache, "guidance_scale": scale}
    batch = decode(model, PROMPTS, SEEDS, **settings)
    alone = [decode(model, [prompt], [seed], **settings)[0] for prompt, seed in zip(PROMPTS, SEEDS, strict=True)]
    assert batch == alone


@pytest.mark.parametrize("cache", ["prefix", "dual", "delayed"])
@pytest.mark.parametrize("scale", [0.0, 1.5])
def test_a_cache_that_is_fresh_in_every_step_is_exact(model, cache, scale):
    """Blocks of one step each: every one is read by the refresh, so nothing stale is left."""
    settings = {"block_length": 2, "denoise_steps": 4, "cache": cache, "guidance_scale": scale}
    assert decode(model, PROMPTS, SEEDS, new=7, **settings) == decode(
        model, PROMPTS, SEEDS, new=7, **{**settings, "cache": "none"}
    )


@pytest.mark.parametrize("cache", ["prefix", "dual", "delayed"])
def test_one_layer_is_exact_with_a_cache_of_what_does_not_change(rotary_model, cache):
    """Keys and values of one layer depend on their own token alone; those of the block are read in every step."""
    shallow = another(rotary_model, n_layers=1)
    settings = {"block_length": 3, "cache": cache}
    assert decode(shallow, PROMPTS, SEEDS, **settings) == decode(shallow, PROMPTS, SEEDS, block_length=3)


def test_two_layers_are_approximate(rotary_model):
    """Otherwise the two tests above could not fail."""
    greedy = {"sampling": GREEDY, "block_length": 6, "new": 11}
    prompts = [[token] for token in range(30)]
    exact = decode(rotary_model, prompts, range(30), **greedy)
    assert decode(rotary_model, prompts, range(30), cache="dual", **greedy) != exact


def test_guidance_equals_the_definition(rotary_model):
    for scale in (0.5, 3.0):
        batch = decode(rotary_model, PROMPTS, SEEDS, block_length=3, guidance_scale=scale)
        for (tokens, _), prompt, seed in zip(batch, PROMPTS, SEEDS, strict=True):
            assert tokens == by_definition(rotary_model, prompt, seed, scale=scale)


def test_a_text_ends_with_its_first_stop_token(rotary_model):
    free = [tokens for tokens, _ in decode(rotary_model, PROMPTS, SEEDS, block_length=3)]
    stop = free[0][4]
    stopped = decode(rotary_model, PROMPTS, SEEDS, block_length=3, stop_ids=[stop])
    assert {reason for _, reason in stopped} >= {"stop"}
    for tokens, (cut, reason) in zip(free, stopped, strict=True):
        expected = tokens[: tokens.index(stop) + 1] if stop in tokens else tokens
        assert (cut, reason) == (expected, "stop" if stop in tokens else "length")


def test_threshold_of_one_is_one_token_a_step_and_of_little_is_all_at_once(rotary_model):
    heard = []
    slow = decode(rotary_model, PROMPTS[:1], [0], heard=heard, block_length=4, confidence_threshold=1.0)
    assert [len(step.positions) for step in heard] == [1] * 7
    assert slow == decode(rotary_model, PROMPTS[:1], [0], block_length=4)
    heard.clear()
    decode(rotary_model, PROMPTS[:1], [0], heard=heard, block_length=4, confidence_threshold=1e-30)
    assert [len(step.positions) for step in heard] == [4, 3]


def test_rows_of_a_threshold_wait_for_one_another(model):
    settings = {"block_length": 4, "confidence_threshold": 0.2}
    for cache in ("none", "prefix", "dual", "delayed"):
        batch = decode(model, PROMPTS, SEEDS, cache=cache, **settings)
        alone = [decode(model, [p], [s], cache=cache, **settings)[0] for p, s in zip(PROMPTS, SEEDS, strict=True)]
        assert batch == alone


def test_steps_tell_the_whole_way(rotary_model):
    heard = []
    rows = decode(rotary_model, PROMPTS, SEEDS, heard=heard, block_length=3)
    for number, (tokens, _) in enumerate(rows):
        steps = [step for step in heard if step.row == number]
        assert [step.step for step in steps] == list(range(len(steps)))
        told = dict(pair for step in steps for pair in zip(step.positions, step.tokens, strict=True))
        first = len(PROMPTS[number])
        assert [told[first + i] for i in range(len(tokens))] == tokens
        assert list(steps[-1].row_tokens) == [*PROMPTS[number], *tokens]
        assert steps[0].row_tokens.count(None) == len(tokens) - 1
        assert all(0 < sureness <= 1 for step in steps for sureness in step.confidences)


def test_mask_padding_and_unused_ids_are_never_drawn(rotary_model):
    model, config = another(rotary_model), rotary_model.config
    loud = torch.nn.Linear(config.d_model, config.vocab_size, bias=True).double()
    loud.weight.data.zero_()
    loud.bias.data.zero_()
    loud.bias.data[[MASK, 29, 28, 3]] = 50.0  # what the model wants most
    model.head = loud
    decoder = BlockDiffusion(WARM, DenoisingConfig(block_length=2), mask_id=MASK, vocab_size=28, unused_ids=[3])
    chunks = decoder(model, [[1]], max_new_tokens=11, stop_ids=(), seeds=[0])
    drawn = {token for chunk in chunks for token in chunk.tokens[0].tolist()}
    assert drawn <= set(range(28)) - {3}


def test_a_hole_is_filled_from_both_sides(model):
    if model.config.position == "none":
        pytest.skip("without positions all masks of a row are alike, and rounding decides between them")
    template = [1, 2, None, None, 5, None, 7]
    decoder = BlockDiffusion(GREEDY, DenoisingConfig(block_length=8), mask_id=MASK)
    tokens = torch.cat([chunk.tokens for chunk in decoder.infill(model, [template], seeds=[0])], dim=1)
    assert tokens.shape == (1, 3)
    x, holes = torch.tensor([[MASK if token is None else token for token in template]]), [2, 3, 5]
    with torch.no_grad():
        while holes:
            logits = model(x, mask=FULL)[0, holes]
            logits[:, MASK] = -torch.inf
            sure, best = logits.softmax(-1).max(-1)
            x[0, holes[int(sure.argmax())]] = best[sure.argmax()]
            holes.pop(int(sure.argmax()))
    assert tokens[0].tolist() == x[0, [2, 3, 5]].tolist()
    never = decoder.infill(model, [template], seeds=[0], never=tokens[0].tolist())
    assert not set(torch.cat([chunk.tokens for chunk in never], dim=1)[0].tolist()) & set(tokens[0].tolist())


def test_the_model_is_left_as_it_was(rotary_model):
    decoder = BlockDiffusion(WARM, DenoisingConfig(block_length=2), mask_id=MASK)
    chunks = decoder(rotary_model.train(), [[1]], max_new_tokens=4, stop_ids=(), seeds=[0])
    next(chunks)
    assert not rotary_model.training
    chunks.close()
    assert rotary_model.training
    rotary_model.eval()
    assert list(decoder(rotary_model, [], max_new_tokens=4, stop_ids=(), seeds=[])) == []


def test_broken_logits_are_refused(rotary_model):
    broken = another(rotary_model)
    broken.head.weight.data[5] = float("nan")
    with pytest.raises(GenerationError, match="NaN or infinity"):
        decode(broken, [[1]], [0])


@pytest.mark.parametrize(
    ("settings", "causal", "message"),
    [
        ({"sampling": SamplingConfig(repetition_penalty=1.2)}, None, "repetition_penalty = 1.2 has no effect"),
        ({"block_length": 2}, 4, "block_length = 2, but the model was trained with blocks of 4"),
        ({"cache": "dual"}, 4, "alone is exact for a block-diffusion model"),
        ({"guidance_scale": 1.0}, 4, "guidance_scale = 1.0 masks the prompt"),
        ({"new": 50}, None, "the largest that fits is 11"),
    ],
)
def test_what_cannot_be_honoured_is_refused_before_anything_is_computed(rotary_model, settings, causal, message):
    with pytest.raises(GenerationError, match=message):
        decode(rotary_model, [[1]], [0], causal=causal, **settings)


def test_a_block_diffusion_model_fills_no_holes(rotary_model):
    decoder = BlockDiffusion(WARM, DenoisingConfig(), mask_id=MASK, causal_block_length=4)
    with pytest.raises(GenerationError, match="cannot fill holes"):
        decoder.infill(rotary_model, [[1, None, 2]], seeds=[0])
