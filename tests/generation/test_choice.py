"""Which decoder serves which model, and which settings it refuses."""

import pytest

from hornbook.config.generate import DenoisingConfig, GenerateConfig
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import GenerationError
from hornbook.generation.autoregressive import Autoregressive
from hornbook.generation.block_diffusion import BlockDiffusion
from hornbook.generation.choice import choose_decoder
from hornbook.tokenizer.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["the cat"], TokenizerConfig(vocab_size=280))


@pytest.mark.parametrize(
    ("kind", "asked", "decoder"),
    [
        ("next_token", "auto", Autoregressive),
        ("next_token", "autoregressive", Autoregressive),
        ("masked_diffusion", "auto", BlockDiffusion),
        ("block_diffusion", "auto", BlockDiffusion),
        ("joint", "auto", Autoregressive),
        ("joint", "diffusion", BlockDiffusion),
    ],
)
def test_the_objective_says_which(tokenizer, kind, asked, decoder):
    assert isinstance(choose_decoder(GenerateConfig(decoder=asked), tokenizer, {"kind": kind}), decoder)


@pytest.mark.parametrize(
    ("likelihood", "decoder"), [("next_token", Autoregressive), ("masked_diffusion", BlockDiffusion)]
)
def test_after_preferences_it_is_decoded_as_they_were_compared(tokenizer, likelihood, decoder):
    objective = {"kind": "preference", "likelihood": likelihood}
    assert isinstance(choose_decoder(GenerateConfig(), tokenizer, objective), decoder)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("next_token", {"decoder": "diffusion"}, 'decoded by "autoregressive"; leave it at "auto"'),
        ("masked_diffusion", {"decoder": "autoregressive"}, 'objective.kind = "masked_diffusion"'),
        ("next_token", {"diffusion": DenoisingConfig(block_length=3)}, "generate.diffusion.block_length has no effect"),
        ("joint", {"diffusion": DenoisingConfig(block_length=3)}, 'or set generate.decoder = "diffusion"'),
        ("masked_diffusion", {"context_overflow": "slide"}, "lays out the whole text"),
        ("masked_diffusion", {"cache": False}, 'generate.diffusion.cache = "none"'),
        ("masked_diffusion", {"precision": "int8"}, "generate.precision has no effect with a diffusion decoder"),
        ("masked_diffusion", {"repetition_penalty": 1.1}, "repetition_penalty = 1.1 has no effect"),
    ],
)
def test_what_has_no_effect_is_refused(tokenizer, kind, settings, message):
    with pytest.raises(GenerationError, match=message):
        choose_decoder(GenerateConfig(**settings), tokenizer, {"kind": kind})


def test_a_tokenizer_without_a_mask_is_refused():
    bare = Tokenizer.train(["x"], TokenizerConfig(vocab_size=257, special_tokens="none"))
    with pytest.raises(GenerationError, match="needs a mask token"):
        choose_decoder(GenerateConfig(), bare, {"kind": "masked_diffusion"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"guidance_scale": 1e300}, "less than or equal to 1000"),
        ({"denoise_steps": 4, "confidence_threshold": 0.9}, "denoise_steps = 4 has no effect"),
        ({"remasking": "random", "confidence_threshold": 0.9}, 'remasking = "random" does not measure'),
        ({"remasking": "entropy", "confidence_threshold": 0.9}, 'remasking = "entropy" does not measure'),
    ],
)
def test_settings_of_denoising_that_exclude_each_other(settings, message):
    with pytest.raises(ValueError, match=message):
        DenoisingConfig(**settings)
