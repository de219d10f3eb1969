"""Training on conversations: what counts, what it weighs, and that packed rows are as good as rows of their own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.conversations import Conversations, drawn
from hornbook.config.objective import BlockDiffusionConfig, JointConfig, MaskedDiffusionConfig, NextTokenConfig
from hornbook.data.batch import PADDING_DOCUMENT, TokenBatch
from hornbook.data.rows import Rows
from hornbook.models.masks import AttentionMask
from hornbook.models.token_scores import TokenScores
from hornbook.models.transformer import Transformer
from hornbook.objectives.block_diffusion import BlockDiffusion
from hornbook.objectives.joint import Joint
from hornbook.objectives.masked_diffusion import TERM, MaskedDiffusion, noise_of
from hornbook.objectives.next_token import NextToken
from hornbook.objectives.normalise import target_weights, weights
from hornbook.objectives.objective import Objective, StepContext
from tiny_models import VOCABULARY, tiny_model

MASK, LENGTH, N = VOCABULARY - 1, 16, 12
NORMALS = ("token", "sequence")
FLOAT32 = 2.0**-22
"""Of a weight and a mask weight, both float32, and their product."""


def objective_of(kind: str, normalize: str = "token") -> Objective[TokenBatch]:
    still = {"truncation_probability": 0.0, "normalize": normalize}
    match kind:
        case "next_token":
            return NextToken(NextTokenConfig(normalize=normalize), chunk_tokens=64)
        case "masked_diffusion":
            return MaskedDiffusion(MaskedDiffusionConfig(**still), mask_id=MASK, chunk_tokens=64)
        case "block_diffusion":
            return BlockDiffusion(BlockDiffusionConfig(block_length=4, **still), mask_id=MASK, chunk_tokens=64)
    return Joint(JointConfig(**still), mask_id=MASK, chunk_tokens=64)


def rows_of(lookahead: int, *, packing: bool = True, **changes: object) -> Rows:
    stream = drawn(N, most=9, vocabulary=VOCABULARY - 1)
    return Rows(stream, context_length=LENGTH, lookahead=lookahead, packing=packing, pad_id=0, **changes)


def batch_of(rows: Rows) -> TokenBatch:
    return rows.batch(range(len(rows)), range(len(rows)))


def prepared(objective: Objective[TokenBatch], batch: TokenBatch) -> TokenBatch:
    return objective.prepare(batch, StepContext(seed=1, step=0, samples_per_step=batch.n_rows))


@pytest.mark.parametrize("position", ["rotary", "learned", "sinusoidal"])
@pytest.mark.parametrize("kind", ["causal", "full"])
@pytest.mark.parametrize("ngrams", [{}, {"ngram_length": 3, "ngram_rows": 31}], ids=["", "ngrams"])
def test_packed_logits_are_those_of_each_conversation_alone(position, kind, ngrams):
    model, rows = tiny_model(position=position, context_length=LENGTH, **ngrams), rows_of(0)
    with torch.no_grad():
        for parameter in model.parameters():  # n-grams begin at zero, where they would say nothing
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    assert len(rows) < N / 2
    batch = batch_of(rows)
    packed = model(batch.tokens, positions=batch.positions, mask=AttentionMask(kind, document_ids=batch.document_ids))
    for row, documents in enumerate(rows.rows):
        for place, number in enumerate(documents):
            alone = model(torch.tensor([rows.stream.documents[number]]), mask=AttentionMask(kind))
            inside = packed[row][batch.document_ids[row] == place]
            assert torch.allclose(inside, alone[0], rtol=0, atol=1e-12)  # sums of 16 terms of size 1, in float64


@given(st.lists(st.tuples(st.integers(2, 9), st.integers(0, 9)), min_size=1, max_size=8), st.integers(0, 1))
def test_weights_are_shares_of_a_conversation(sizes, lookahead):
    """They add up to what the loss is divided by; each conversation with a target adds 1, whatever shares its row."""
    stream = Conversations([[1] * size for size, _ in sizes], [min(size, trained) for size, trained in sizes])
    rows = Rows(stream, context_length=LENGTH, lookahead=lookahead, packing=True, pad_id=0)
    batch = batch_of(rows)
    weight, count = target_weights(batch, "sequence")
    targets = [max(0, min(size, trained) - (lookahead and trained >= size)) for size, trained in sizes]
    assert count == sum(n > 0 for n in targets)
    assert weight.sum().item() == pytest.approx(count, abs=1e-5)
    assert ((weight > 0) == batch.loss_mask).all()
    for row, documents in enumerate(rows.rows):
        for place, number in enumerate(documents):
            own = weight[row][batch.document_ids[row] == place]
            assert own.sum().item() == pytest.approx(float(targets[number] > 0), abs=1e-6)
    plain, tokens = target_weights(batch, "token")
    assert torch.equal(plain, batch.loss_mask.float())
    assert tokens == sum(targets)


@pytest.mark.parametrize("kind", ["next_token", "masked_diffusion", "joint"])
@pytest.mark.parametrize("normalize", NORMALS)
def test_the_weights_shown_are_those_that_are_divided_by(kind, normalize):
    """What `target_weights` says of a batch is the denominator, and the gradient of the sum by each nll."""
    objective = objective_of(kind, normalize)
    batch = prepared(objective, batch_of(rows_of(objective.lookahead)))
    weight, count = target_weights(batch, normalize)
    if kind != "masked_diffusion":
        assert objective.weight(batch)["cross_entropy"] == count
        assert float(objective(surprised(), batch).terms["cross_entropy"]) == pytest.approx(
            float(weight.sum()), rel=1e-6
        )
    if kind == "masked_diffusion":
        assert objective.weight(batch)[TERM] == count
        noised = noise_of(batch)
        expected = (weight * noised.weight).sum()
        assert float(objective(surprised(), batch).terms[TERM]) == pytest.approx(float(expected), rel=1e-6)


def surprised(by: torch.Tensor | float = 1.0) -> Transformer:
    """A model to which every target is so much of a surprise."""
    model = tiny_model()

    def forward(tokens, *, targets, **_):
        nll = torch.broadcast_to(torch.as_tensor(by), targets.shape).contiguous()
        return TokenScores(nll, nll, nll)

    model.forward = forward
    return model


@torch.no_grad()
@pytest.mark.parametrize("normalize", NORMALS)
def test_the_next_token_loss_by_hand(normalize):
    """From the logits of each conversation alone."""
    model, rows = tiny_model(context_length=LENGTH), rows_of(1)
    objective, batch = objective_of("next_token", normalize), batch_of(rows)
    sums, counts = [], []
    for number, tokens in enumerate(rows.stream.documents):
        start, _ = rows.stream.document_span(number)
        counted = torch.from_numpy(rows.stream.loss_mask(start, len(tokens)))[1:]
        log_p = model(torch.tensor([tokens[:-1]]))[0].log_softmax(-1)
        nll = -log_p.gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]
        sums.append(float(nll[counted].sum()))
        counts.append(int(counted.sum()))
    if normalize == "token":
        expected = sum(sums) / sum(counts)
    else:
        expected = sum(total / n for total, n in zip(sums, counts, strict=True) if n) / sum(n > 0 for n in counts)
    found = objective(model, batch).terms["cross_entropy"] / objective.weight(batch)["cross_entropy"]
    assert float(found) == pytest.approx(expected, rel=FLOAT32)


@torch.no_grad()
@pytest.mark.parametrize("normalize", NORMALS)
@pytest.mark.parametrize("packing", [True, False])
def test_the_diffusion_loss_by_hand(normalize, packing):
    """LLaDA's: of each conversation the sum of nll / p over masked answer tokens, by its answer's length."""
    model, rows = tiny_model(context_length=LENGTH), rows_of(0, packing=packing)
    objective = objective_of("masked_diffusion", normalize)
    batch = prepared(objective, batch_of(rows))
    noised, found = noise_of(batch), []
    for row, documents in enumerate(rows.rows):
        for place in range(len(documents)):
            own = batch.document_ids[row] == place
            log_p = model(noised.tokens[row][own][None], mask=AttentionMask("full"))[0].log_softmax(-1)
            nll = -log_p.gather(1, batch.tokens[row][own][:, None])[:, 0]
            masked, p = noised.masked[row][own], noised.mask_probability[row][own].double()
            assert p.unique().numel() == 1  # one a conversation
            found.append((float((nll / p)[masked].sum()), int(batch.loss_mask[row][own].sum())))
    if normalize == "token":
        expected = sum(total for total, _ in found) / sum(n for _, n in found)
    else:
        expected = sum(total / n for total, n in found) / len(found)
    loss = objective(model, batch).terms[TERM] / objective.weight(batch)[TERM]
    assert float(loss) == pytest.approx(expected, rel=FLOAT32)


def test_conversations_of_a_row_have_mask_probabilities_of_their_own():
    objective = objective_of("masked_diffusion")
    batch = prepared(objective, batch_of(rows_of(0)))
    probability = noise_of(batch).mask_probability
    for row in range(batch.n_rows):
        inside = batch.document_ids[row] != PADDING_DOCUMENT
        distinct = probability[row][inside].unique().numel()
        assert distinct == batch.document_ids[row][inside].unique().numel()


@pytest.mark.parametrize("kind", ["masked_diffusion", "block_diffusion", "joint"])
def test_a_prompt_stays_clean(kind):
    objective = objective_of(kind)
    rows = rows_of(objective.lookahead, packing=kind != "block_diffusion", block_length=4)
    hidden = 0
    for step in range(40):
        batch = objective.prepare(batch_of(rows), StepContext(seed=1, step=step, samples_per_step=len(rows)))
        noised = noise_of(batch)
        width = noised.tokens.shape[1]
        context = ~batch.loss_mask[:, :width]
        assert torch.equal(noised.tokens[context], batch.tokens[:, :width][context])
        hidden += int(noised.masked.sum())
    assert hidden > 100


@pytest.mark.parametrize("kind", ["next_token", "masked_diffusion", "block_diffusion", "joint"])
@pytest.mark.parametrize("normalize", NORMALS)
def test_only_trained_tokens_give_a_gradient(kind, normalize):
    """Another target where nothing counts changes no gradient; another one where it counts does."""
    objective = objective_of(kind, normalize)
    rows = rows_of(objective.lookahead, packing=kind != "block_diffusion", block_length=4)
    batch = prepared(objective, batch_of(rows))
    counted = batch.loss_mask.clone()
    counted[:, 0] &= objective.lookahead == 0
    before = gradient(objective, tiny_model(context_length=LENGTH), batch)
    for where, changes in ((~counted, False), (counted, True)):
        other = torch.where(where, (batch.tokens + 1) % (VOCABULARY - 1), batch.tokens)
        after = gradient(objective, asked(batch, other), batch)
        assert torch.equal(before, after) is not changes


def asked(batch: TokenBatch, tokens: torch.Tensor) -> Transformer:
    """A model that is asked for `tokens` instead of the batch's own, while it reads the same."""
    model = tiny_model(context_length=LENGTH)
    usual = model.forward

    def forward(read, *, targets, **given):
        width = targets.shape[1]
        shift = int(not torch.equal(targets, batch.tokens[:, :width]))
        return usual(read, targets=tokens[:, shift : shift + width], **given)

    model.forward = forward
    return model


def gradient(objective, model, batch) -> torch.Tensor:
    total = sum(term / objective.weight(batch)[name] for name, term in objective(model, batch).terms.items())
    return torch.cat([each.flatten() for each in torch.autograd.grad(total, list(model.parameters()))])


@pytest.mark.parametrize("normalize", NORMALS)
def test_what_does_not_count_may_be_infinite(normalize):
    objective, batch = objective_of("next_token", normalize), batch_of(rows_of(1))
    model = surprised(torch.where(batch.loss_mask[:, 1:], 1.0, torch.inf))
    assert objective(model, batch).terms["cross_entropy"].isfinite()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_weights_on_a_gpu():
    """The same, and by deterministic algorithms."""
    batch = batch_of(rows_of(1))
    here = weights(batch.loss_mask, batch.document_ids, "sequence")
    torch.use_deterministic_algorithms(True)
    try:
        there = weights(batch.loss_mask.cuda(), batch.document_ids.cuda(), "sequence")
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(there.cpu(), here)
