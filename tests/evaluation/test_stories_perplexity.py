"""A real model on real text: transformers' documented loop, and what last-token says of the exact number."""

import numpy as np
import pytest
import torch

from data_paths import needs
from hornbook.config.generate import EvalConfig
from hornbook.evaluation.perplexity import evaluate_perplexity
from hornbook.evaluation.token_reader import InMemory
from hornbook.interop.hf import load_hf_directory
from hornbook.tokenizer.tokenizer import Tokenizer

MODEL, TEXT = "models/stories260K-hf", "pretrain/tinystories/tinystories_valid.txt"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(needs(f"{MODEL}/tokenizer.json"))


@pytest.fixture(scope="module")
def model():
    found, _ = load_hf_directory(needs(MODEL))
    return found


def stream_of(tokenizer: Tokenizer, n_tokens: int) -> InMemory:
    text = needs(TEXT).read_text(encoding="utf-8")[: 8 * n_tokens]
    return InMemory(np.array(tokenizer.encode(text)[:n_tokens]))


def documented_perplexity(model, ids: torch.Tensor, *, max_length: int, stride: int) -> float:
    """The loop of https://huggingface.co/docs/transformers/perplexity, from its description: every window's mean loss
    by the model's own shift of labels, weighted by its valid labels less one for that shift."""
    nats, counted, previous_end = 0.0, 0, 0
    for begin in range(0, ids.shape[1], stride):
        end = min(begin + max_length, ids.shape[1])
        labels = ids[:, begin:end].clone()
        labels[:, : previous_end - end] = -100
        with torch.no_grad():
            mean = model(ids[:, begin:end], labels=labels).loss.item()
        weight = int((labels != -100).sum()) - 1
        nats, counted = nats + mean * weight, counted + weight
        previous_end = end
        if end == ids.shape[1]:
            break
    return float(np.exp(nats / counted))


@pytest.mark.medium
@pytest.mark.parametrize(("max_length", "stride"), [(512, 256), (257, 64)])
def test_strided_is_the_method_that_transformers_documents(model, tokenizer, max_length, stride):
    """To 1e-4: the documented weights count one target less of every window but the first, which moves the mean by
    (nats of the first window less the others') * its share of the text / stride, some 1e-5 here."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(needs(MODEL), dtype=torch.float32).eval()
    stream = stream_of(tokenizer, 8000)
    expected = documented_perplexity(theirs, torch.tensor(stream.tokens)[None], max_length=max_length, stride=stride)
    config = EvalConfig(window=max_length - 1, stride=stride)
    card = evaluate_perplexity(model, tokenizer, stream, config, data="stories")
    assert card.perplexity == pytest.approx(expected, rel=1e-4)
    assert card.tokens_scored == stream.n_tokens - 1


@pytest.mark.slow
def test_the_interval_of_last_token_covers_the_exact_number(model, tokenizer):
    """448 of 16,000 tokens, and all of them: the 99 % interval of the few holds the perplexity of all."""
    stream = stream_of(tokenizer, 16_000)
    cards = {
        protocol: evaluate_perplexity(
            model,
            tokenizer,
            stream,
            EvalConfig(protocol=protocol, window=32, batch_size=64, bootstrap={"level": 0.99, "seed": 0}),
            data="stories",
        )
        for protocol in ("exact", "last-token")
    }
    low, high = (cards["last-token"].values()[f"perplexity_{end}"] for end in ("low", "high"))
    assert cards["last-token"].tokens_scored == 16_000 // 33 // 64 * 64
    assert low <= cards["exact"].perplexity <= high
    assert high / low < 1.8  # which is no accident of width: 448 tokens of a scatter of two nats
