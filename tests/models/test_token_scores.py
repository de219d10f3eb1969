import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from hornbook.models.token_scores import scores_where, token_scores
from tiny_models import VOCABULARY, tiny_model


def drawn(n_rows, length, vocabulary=VOCABULARY, d_model=6):
    rng = torch.Generator().manual_seed(0)
    hidden = torch.randn(n_rows, length, d_model, generator=rng, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(vocabulary, d_model, generator=rng, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(vocabulary, (n_rows, length), generator=rng)
    return hidden, weight, targets


def test_each_number_is_what_it_says():
    hidden, weight, targets = drawn(2, 7)
    scores = token_scores(hidden, targets, lambda rows: rows @ weight.T, chunk_tokens=100)
    logits = hidden @ weight.T
    expected = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    torch.testing.assert_close(scores.nll, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(scores.logsumexp, logits.exp().sum(-1).log(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(scores.mean_logit, logits.mean(-1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_label_smoothing_follows_from_the_three(smoothing):
    hidden, weight, targets = drawn(2, 7)
    scores = token_scores(hidden, targets, lambda rows: rows @ weight.T, chunk_tokens=5)
    got = (1 - smoothing) * scores.nll + smoothing * (scores.logsumexp - scores.mean_logit)
    logits = (hidden @ weight.T).transpose(1, 2)
    expected = F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chunk_tokens", [1, 4, 7, 13, 14])
def test_chunks_change_no_value_and_no_gradient(chunk_tokens):
    results = []
    for size in (chunk_tokens, 1000):
        hidden, weight, targets = drawn(2, 7)
        scores = token_scores(hidden, targets, lambda rows, weight=weight: rows @ weight.T, chunk_tokens=size)
        loss = scores.nll.sum() + 0.3 * scores.logsumexp.square().sum() - 0.1 * scores.mean_logit.sum()
        loss.backward()
        results.append((scores.nll, scores.logsumexp, scores.mean_logit, hidden.grad, weight.grad))
    for chunked, whole in zip(*results, strict=True):
        torch.testing.assert_close(chunked, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("chunk_tokens", [3, 1000])
def test_what_is_not_asked_is_zero_and_has_no_gradient(share, chunk_tokens):
    asked = torch.rand(2, 7, generator=torch.Generator().manual_seed(1)) < share
    results = []
    for whole in (True, False):
        hidden, weight, targets = drawn(2, 7)
        head = lambda rows, weight=weight: rows @ weight.T  # noqa: E731
        if whole:
            scores = token_scores(hidden, targets, head, chunk_tokens=chunk_tokens)
        else:
            scores = scores_where(asked, hidden, targets, head, chunk_tokens=chunk_tokens)
        columns = [column.where(asked, 0) for column in (scores.nll, scores.logsumexp, scores.mean_logit)]
        (columns[0] + 0.3 * columns[1].square() - 0.1 * columns[2]).sum().backward()
        found = (scores.nll, scores.logsumexp, scores.mean_logit)
        results.append([*(columns if whole else found), hidden.grad, weight.grad])
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


class LargestTensor(TorchDispatchMode):
    """Remembers the most numbers that any operation put into one tensor."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        out = operation(*arguments, **(options or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


@pytest.mark.parametrize(("chunk_tokens", "in_gradient"), [(4, True), (4, False), (64, True)])
def test_no_tensor_exceeds_a_chunk_of_logits(chunk_tokens, in_gradient):
    vocabulary = 100  # 64 x 100 logits; no other tensor here reaches 4 x 100 but the 100 x 2 head
    hidden, weight, targets = drawn(4, 16, vocabulary, d_model=2)
    with LargestTensor() as largest, torch.set_grad_enabled(in_gradient):
        scores = token_scores(hidden, targets, lambda rows: rows @ weight.T, chunk_tokens=chunk_tokens)
        if in_gradient:
            scores.nll.sum().backward()
    assert largest.numel == chunk_tokens * vocabulary


def test_logits_are_kept_for_no_chunk_but_computed_twice():
    hidden, weight, targets = drawn(2, 8)
    sizes = []

    def head(rows):
        sizes.append(len(rows))
        return rows @ weight.T

    token_scores(hidden, targets, head, chunk_tokens=6).nll.sum().backward()
    assert sizes[:3] == [6, 6, 4]
    assert sorted(sizes[3:]) == [4, 6, 6]
    sizes.clear()
    token_scores(hidden, targets, head, chunk_tokens=16).nll.sum().backward()
    assert sizes == [16]  # one chunk: nothing to gain from computing it again


@pytest.mark.parametrize("settings", [{}, {"logit_soft_cap": 2.0}, {"tie_embeddings": False}], ids=str)
@pytest.mark.parametrize("autocast", [False, True])
def test_the_model_scores_the_logits_it_gives(settings, autocast):
    model = tiny_model(**settings).float()
    tokens, targets = torch.randint(VOCABULARY, (2, 2, 8), generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        scores = model(tokens, targets=targets, chunk_tokens=5)
        logits = model(tokens)
        scores.nll.sum().backward()
    assert scores.nll.dtype == torch.float32
    expected = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    # Under autocast both sum the same bfloat16 logits, in float32; a few roundings of numbers below 4.
    torch.testing.assert_close(scores.nll, expected, rtol=0, atol=16 * 2**-22)


@pytest.mark.parametrize("chunk_tokens", [5, 100])
def test_with_nll_only_the_others_carry_no_gradient(chunk_tokens):
    grads = []
    for nll_only in (True, False):
        hidden, weight, targets = drawn(2, 7)
        scores = token_scores(
            hidden, targets, lambda rows, weight=weight: rows @ weight.T, chunk_tokens=chunk_tokens, nll_only=nll_only
        )
        assert scores.logsumexp.requires_grad != nll_only
        scores.nll.sum().backward()
        grads.append((*(value.detach() for value in (scores.logsumexp, scores.mean_logit)), hidden.grad, weight.grad))
    for left, right in zip(*grads, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)
