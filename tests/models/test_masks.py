import pytest
import torch

from hornbook.errors import GenerationError
from hornbook.models.attention import attend
from hornbook.models.cache import KVCache
from hornbook.models.masks import CAUSAL, FULL, AttentionMask, resolve
from oracles.diffusion import may_attend
from oracles.transformer import Oracle
from tiny_models import POSITIONS, VOCABULARY, tiny_model

CPU = torch.device("cpu")
A, B = torch.arange(0, 5)[None], torch.arange(5, 8)[None]


@pytest.mark.parametrize("kind", ["causal", "full"])
def test_plain_masks_need_no_tensor(kind):
    assert resolve(AttentionMask(kind), length=4, device=CPU) == (None, kind == "causal", ())


def test_the_explicit_mask_is_the_picture_of_the_docstring():
    documents = torch.tensor([[0, 0, 1, 1]])
    allowed, is_causal, _ = resolve(AttentionMask("causal", document_ids=documents), length=4, device=CPU)
    assert not is_causal
    assert allowed[0, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    allowed, _, _ = resolve(AttentionMask("full", document_ids=documents), length=4, device=CPU)
    assert allowed[0, 0].int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]


def test_hidden_keys_are_seen_by_themselves_alone():
    real = torch.tensor([[False, True, True]])
    allowed, _, _ = resolve(AttentionMask("causal", key_is_real=real), length=3, device=CPU)
    assert allowed[0, 0].int().tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("kind", ["causal", "full"])
def test_masks_and_positions_equal_the_oracle(position, kind):
    model = tiny_model(position=position, n_kv_heads=2)
    tokens, documents, positions = [3, 1, 4, 1, 5, 9], [0, 0, 1, 0, 1, 1], [0, 1, 0, 2, 1, 9]
    real = [True, True, True, False, True, True]
    mask = AttentionMask(kind, document_ids=torch.tensor([documents]), key_is_real=torch.tensor([real]))
    got = model(torch.tensor([tokens]), positions=torch.tensor([positions]), mask=mask)[0]

    def allowed(i, j):
        return i == j or (documents[i] == documents[j] and real[j] and (kind == "full" or j < i))

    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    expected = torch.from_numpy(Oracle(weights, model.config).logits(tokens, positions, allowed))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)  # angles are float32


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("kind", ["causal", "full"])
def test_packed_documents_equal_separate_ones(position, kind):
    model = tiny_model(position=position, n_kv_heads=2)
    packed = torch.cat((A, B), dim=1)
    mask = AttentionMask(kind, document_ids=torch.tensor([[7] * 5 + [3] * 3]))
    positions = torch.cat((torch.arange(5), torch.arange(3)))[None]
    got = model(packed, positions=positions, mask=mask)
    apart = torch.cat([model(part, mask=AttentionMask(kind)) for part in (A, B)], dim=1)
    torch.testing.assert_close(got, apart, rtol=1e-12, atol=1e-12)


def test_documents_may_be_interleaved():
    model = tiny_model(position="none")
    order = torch.tensor([0, 5, 1, 2, 6, 3, 7, 4])
    mixed = torch.cat((A, B), dim=1)[:, order]
    got = model(mixed, mask=AttentionMask("causal", document_ids=(order >= 5).long()[None]))
    for part, members in ((A, order < 5), (B, order >= 5)):
        torch.testing.assert_close(got[:, members], model(part), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["causal", "full"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("position", POSITIONS)
def test_padding_changes_nothing(kind, side, position):
    model = tiny_model(position=position, n_kv_heads=2)
    filler = torch.full((1, 2), VOCABULARY - 1)
    padded = torch.cat((filler, A) if side == "left" else (A, filler), dim=1)
    real = torch.ones(1, 7, dtype=torch.bool)
    real[:, slice(0, 2) if side == "left" else slice(5, 7)] = False
    positions = (real.cumsum(dim=1) - 1).clamp(min=0)
    got = model(padded, positions=positions, mask=AttentionMask(kind, key_is_real=real))
    assert got.isfinite().all()
    torch.testing.assert_close(got[real][None], model(A, mask=AttentionMask(kind)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["causal", "full"])
def test_a_row_of_padding_only_is_finite_forward_and_backward(kind):
    model = tiny_model()
    tokens = torch.cat((A, A))
    real = torch.tensor([[True] * 5, [False] * 5])
    model(tokens, mask=AttentionMask(kind, key_is_real=real), targets=tokens).nll.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("n_new", [1, 2])
@pytest.mark.parametrize("mask", [CAUSAL, FULL], ids=lambda mask: mask.kind)
def test_padding_inside_a_cache_is_not_seen(start, n_new, mask):
    model = tiny_model(position="none")  # so that a hole in the row is no other distance
    row = torch.arange(start + n_new)[None]
    hidden = torch.zeros(1, 16, dtype=torch.bool)
    hidden[0, : start + n_new] = True
    if start:
        hidden[0, 1] = False
    with torch.inference_mode():
        cache = KVCache(model.config, 1, 16, dtype=torch.float64)
        if start:
            model(row[:, :start], cache=cache, mask=AttentionMask(mask.kind, key_is_real=hidden))
            cache.advance(start)
        got = model(row[:, start:], cache=cache, mask=AttentionMask(mask.kind, key_is_real=hidden))
        if mask.kind == "causal" or not start:
            kept = row[:, hidden[0, : start + n_new]]
            torch.testing.assert_close(got, model(kept, mask=mask)[:, -n_new:], rtol=1e-12, atol=1e-12)
        seen_alone = AttentionMask(mask.kind, key_is_real=torch.zeros(1, 16, dtype=torch.bool))
        assert model(row[:, start:], cache=cache, mask=seen_alone).isfinite().all()


def test_what_a_cache_cannot_mask_is_an_error():
    model = tiny_model()
    with torch.inference_mode():
        cache = KVCache(model.config, 1, 16, dtype=torch.float64)
        with pytest.raises(GenerationError, match="one document"):
            model(A, cache=cache, mask=AttentionMask("causal", document_ids=torch.zeros_like(A)))
        with pytest.raises(GenerationError, match="covers 3 slots of the cache, 5"):
            model(A, cache=cache, mask=AttentionMask("causal", key_is_real=torch.ones(1, 3, dtype=torch.bool)))


BLOCK_CAUSAL = AttentionMask("block_causal", block_length=2)


def test_block_masks_are_the_pictures_of_the_docstring():
    allowed, is_causal, _ = resolve(BLOCK_CAUSAL, length=4, device=CPU)
    assert not is_causal
    assert allowed[0, 0].int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
    allowed, _, _ = resolve(AttentionMask("block_diffusion", block_length=2), length=8, device=CPU)
    assert allowed[0, 0, ::2].int().tolist() == [
        [1, 1, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 1, 1, 1, 1],
    ]


@pytest.mark.parametrize("block_length", [1, 2, 3, 7, 10])
def test_block_diffusion_equals_the_paper_case_by_case(block_length):
    length = 7
    allowed, _, _ = resolve(AttentionMask("block_diffusion", block_length=block_length), length=2 * length, device=CPU)
    expected = [
        [may_attend(query, key, length=length, block_length=block_length) for key in range(2 * length)]
        for query in range(2 * length)
    ]
    assert allowed[0, 0].tolist() == expected


def test_blocks_of_one_token_are_causal():
    allowed, _, _ = resolve(AttentionMask("block_causal", block_length=1), length=5, device=CPU)
    assert torch.equal(allowed[0, 0], torch.ones(5, 5, dtype=torch.bool).tril())


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("pieces", [(4, 2, 2), (2, 4, 2), (8,)])
def test_blocks_through_a_cache_equal_the_whole_row(position, pieces):
    model = tiny_model(position=position, n_kv_heads=2)
    tokens = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8, 1, 8]])
    expected = model(tokens, mask=BLOCK_CAUSAL)
    with torch.inference_mode():
        cache = KVCache(model.config, 2, 8, dtype=torch.float64)
        found = []
        for piece in tokens.split(pieces, dim=1):
            found.append(model(piece, mask=BLOCK_CAUSAL, cache=cache))
            cache.advance(piece.shape[1])
    # Sums over 8 keys of terms of size 1, in another order, through two layers.
    torch.testing.assert_close(torch.cat(found, dim=1), expected, rtol=1e-13, atol=1e-13)


def test_rows_at_different_blocks_of_a_cache():
    model = tiny_model()
    rows = torch.tensor([[3, 1, 4, 1, 5, 9], [2, 7, 1, 8, 0, 0]])
    expected = [model(row[None, :n], mask=BLOCK_CAUSAL)[:, -2:] for row, n in zip(rows, (6, 4), strict=True)]
    with torch.inference_mode():
        cache = KVCache(model.config, 2, 6, dtype=torch.float64)
        model(rows[:, :4], mask=BLOCK_CAUSAL, cache=cache)
        cache.advance(torch.tensor([4, 2]))
        found = model(torch.tensor([[5, 9], [1, 8]]), mask=BLOCK_CAUSAL, cache=cache)
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("length", "block_length"), [(7, 3), (64, 64), (130, 7), (256, 32), (256, 1), (300, 128)])
def test_strips_of_block_diffusion_leave_out_only_what_is_hidden(length, block_length):
    allowed, _, strips = resolve(
        AttentionMask("block_diffusion", block_length=block_length), length=2 * length, device=CPU
    )
    found, computed = torch.zeros_like(allowed), 0
    places = torch.arange(2 * length)
    for queries, keys, part in strips:
        rows = places[slice(*queries)]
        columns = torch.cat([places[slice(*span)] for span in keys])
        found[0, 0, rows[:, None], columns] = part[0, 0]
        computed += part.numel()
    assert torch.equal(found, allowed)
    assert [row for queries, _, _ in strips for row in range(*queries)] == places.tolist()
    assert computed <= 3 / 4 * allowed.numel()
    if (length, block_length) == (256, 32):
        assert computed == 11 / 32 * allowed.numel()  # 64 queries each: (64 + end - 32) noised and end clean keys


@pytest.mark.parametrize("documents", [False, True])
def test_attention_by_strips_equals_that_of_the_whole_square(documents):
    length, block_length = 150, 10
    q, k, v = (
        torch.randn(2, heads, 2 * length, 4, generator=torch.Generator().manual_seed(heads), dtype=torch.float64)
        for heads in (4, 2, 2)
    )
    ids = (torch.arange(length) >= torch.tensor([[97], [40]])).long().repeat(1, 2) if documents else None
    mask = AttentionMask("block_diffusion", block_length=block_length, document_ids=ids)
    visibility, results = resolve(mask, length=2 * length, device=CPU), []
    assert len(visibility.strips) == 6
    for seen in (visibility, visibility._replace(strips=())):
        for plain_max_keys in (0, 1000):
            leaves = [each.clone().requires_grad_() for each in (q, k, v)]
            mixed = attend(*leaves, seen, plain_max_keys=plain_max_keys)
            results.append([mixed, *torch.autograd.grad((mixed * q).sum(), leaves)])
    for other in results[1:]:
        # A few roundings of numbers of order 10.
        torch.testing.assert_close(other, results[0], rtol=1e-12, atol=1e-12)
