"""A model that starts from weights of a smaller vocabulary: what is kept, and what new tokens start with."""

import math
from pathlib import Path

import pytest
import torch

from hornbook.checkpoint.load import Checkpoint, load_checkpoint, start_from
from hornbook.checkpoint.save import save_checkpoint
from hornbook.config.model import ModelConfig, ModelTable
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import CheckpointError
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer

TOKENIZER = Tokenizer.train(["some words of a text"], TokenizerConfig(vocab_size=259, special_tokens="pretraining"))


def shape(vocab_size: int, **changes: object) -> ModelConfig:
    values = {"context_length": 8, "d_model": 16, "n_layers": 1, "n_heads": 2, **changes}
    return ModelTable.model_validate(values).complete(vocab_size=vocab_size)


def saved(tmp_path: Path, config: ModelConfig) -> tuple[Transformer, Checkpoint]:
    model = Transformer(config, seed=3).eval()
    path = save_checkpoint(
        tmp_path,
        step=1,
        kind="light",
        model_config=config,
        objective={"kind": "next_token"},
        weights=model.state_dict(),
        optimizer=None,
        state={"step": 1},
        tokenizer=TOKENIZER,
    )
    return model, load_checkpoint(path)


def logits(model: Transformer) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(200, 208)[None])


@pytest.mark.parametrize("tied", [True, False])
def test_logits_of_old_ids_are_the_same_bits(tmp_path, tied):
    old, checkpoint = saved(tmp_path, shape(259, tie_embeddings=tied))
    new = Transformer(shape(265, tie_embeddings=tied), seed=9).eval()
    start_from(new, checkpoint)
    assert torch.equal(logits(new)[..., :259], logits(old))
    for name, tensor in old.state_dict().items():
        assert torch.equal(new.state_dict()[name][: len(tensor)], tensor), name


def test_new_ids_start_as_the_mean_and_take_little(tmp_path):
    """n of n + k is the least that the old ids keep, see `growth`."""
    old, checkpoint = saved(tmp_path, shape(259, tie_embeddings=False))
    with torch.no_grad():
        old.head.weight.mul_(100)  # a model that is sure
    checkpoint.weights["head.weight"].copy_(old.head.weight)
    new = Transformer(shape(265, tie_embeddings=False), seed=9).eval()
    start_from(new, checkpoint)
    for name in ("token_embedding.weight", "head.weight"):
        rows = new.state_dict()[name]
        torch.testing.assert_close(rows[259:], rows[:259].mean(dim=0).expand(6, -1), rtol=0, atol=1e-6)
    kept = logits(new).softmax(dim=-1)[..., :259].sum(dim=-1)
    assert kept.min() >= 259 / 265 - 1e-6
    random = Transformer(shape(265, tie_embeddings=False), seed=9).eval()
    start_from(random, checkpoint)
    with torch.no_grad():
        random.head.weight[259:] = torch.randn(6, 16) * old.head.weight.std()
    assert logits(random).softmax(dim=-1)[..., :259].sum(dim=-1).min() < kept.min()


def test_rows_that_stood_for_no_token_are_new_when_they_get_one(tmp_path):
    """A model may have more rows than its tokenizer has ids."""
    old, checkpoint = saved(tmp_path, shape(272))
    new = Transformer(shape(272), seed=9)
    start_from(new, checkpoint, tokens=265)
    rows, before = new.token_embedding.weight.detach(), old.token_embedding.weight.detach()
    torch.testing.assert_close(rows[259:265], before[:259].mean(dim=0).expand(6, -1), rtol=0, atol=1e-6)
    assert torch.equal(rows[265:], before[265:])
    assert torch.equal(rows[:259], before[:259])
    start_from(new, checkpoint, tokens=259)
    assert torch.equal(new.token_embedding.weight, old.token_embedding.weight)


def test_a_larger_model_of_the_same_tokens_and_a_smaller_one(tmp_path):
    old, checkpoint = saved(tmp_path, shape(264))
    new = Transformer(shape(272), seed=9)
    start_from(new, checkpoint, tokens=259)
    assert torch.equal(new.token_embedding.weight[:264], old.token_embedding.weight)
    assert math.isclose(
        new.token_embedding.weight[270, 0].item(), old.token_embedding.weight[:259, 0].mean().item(), abs_tol=1e-6
    )
    with pytest.raises(CheckpointError, match=r"token_embedding\.weight has shape \(264, 16\), expected \(260, 16\)"):
        start_from(Transformer(shape(260)), checkpoint)


def test_ngrams_lie_where_the_vocabulary_says(tmp_path):
    ngrams = {"ngram_length": 2, "ngram_rows": 50}
    _, checkpoint = saved(tmp_path, shape(264, **ngrams))
    start_from(Transformer(shape(264, **ngrams)), checkpoint, tokens=261)
    with pytest.raises(CheckpointError, match=r"model\.ngram_length = 2"):
        start_from(Transformer(shape(270, **ngrams)), checkpoint)
