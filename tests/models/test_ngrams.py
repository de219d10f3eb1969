import pytest
import torch

from hornbook.config.model import ModelTable
from hornbook.models.accounting import parameter_counts
from hornbook.models.cache import KVCache
from hornbook.models.ngrams import NgramEmbedding, earlier
from tiny_models import VOCABULARY, tiny_model


def ngram_model(**settings):
    model = tiny_model(ngram_length=3, ngram_rows=200, **settings)
    torch.nn.init.normal_(model.ngram_embedding.weight, generator=torch.Generator().manual_seed(1))
    return model


def tokens_of(n_rows, length):
    return torch.randint(VOCABULARY, (n_rows, length), generator=torch.Generator().manual_seed(0))


def test_earlier_tokens_stop_at_the_start_of_a_document():
    tokens = torch.tensor([[3, 4, 5, 6, 7]])
    positions = torch.tensor([[0, 1, 2, 0, 1]])
    assert earlier(tokens, positions, length=3).tolist() == [[[-1, 3, 4, -1, 6]], [[-1, -1, 3, -1, -1]]]


def test_rows_are_exact_where_all_ngrams_fit_and_spread_otherwise():
    table = NgramEmbedding(vocab_size=15, length=4, rows=300, d_model=1)  # 16^2 fits, 16^3 does not
    a, b, c, d = (grid.reshape(1, -1) for grid in torch.meshgrid(*[torch.arange(15)] * 4, indexing="ij"))
    rows = table.rows_of(a, torch.stack((b, c, d)))
    assert rows.shape == (3, 1, 15**4)
    assert len(rows[0].unique()) == 15**2
    for order in range(3):
        assert order * 300 <= rows[order].min()
        assert rows[order].max() < (order + 1) * 300
    # 50,625 four-grams in 300 rows: 169 each, standard deviation 13 if the hash is even
    counts = rows[2].flatten().bincount(minlength=900)[600:]
    assert counts.min() > 0.5 * 169
    assert counts.max() < 2 * 169


def test_the_sum_is_over_all_orders():
    table = NgramEmbedding(vocab_size=5, length=3, rows=1000, d_model=4)
    torch.nn.init.normal_(table.weight)
    tokens, before = torch.tensor([[2]]), torch.tensor([[[1]], [[4]]])
    bigram, trigram = table.weight[3 * 6 + 2], table.weight[1000 + (3 * 6 + 2) * 6 + 5]
    torch.testing.assert_close(table(tokens, before)[0, 0], bigram + trigram)


def test_dropout_leaves_out_whole_vectors_in_training_only():
    table = NgramEmbedding(vocab_size=5, length=3, rows=1000, d_model=4, dropout=0.25)
    torch.nn.init.ones_(table.weight)
    tokens, before = torch.zeros(100, 50, dtype=torch.int64), torch.zeros(2, 100, 50, dtype=torch.int64)
    torch.manual_seed(0)
    seen = table(tokens, before) * 0.75
    torch.testing.assert_close(seen, seen[..., :1].expand(-1, -1, 4))
    assert seen.unique().round(decimals=4).tolist() == [0.0, 1.0, 2.0]
    # 10,000 draws with probability 3/4: a standard deviation of 43
    assert abs(seen[..., 0].sum().item() - 7500) < 5 * 43.3
    assert (table.eval()(tokens, before) == 2).all()


def test_a_new_table_adds_nothing_and_is_counted():
    with_tables, without = tiny_model(ngram_length=3, ngram_rows=200), tiny_model()
    tokens = tokens_of(2, 8)
    assert torch.equal(with_tables(tokens), without(tokens))
    assert parameter_counts(with_tables.config)["ngram_embedding"] == 2 * 200 * 16
    assert sum(parameter_counts(with_tables.config).values()) == with_tables.n_parameters


def test_no_token_changes_what_stands_before_it():
    model, tokens = ngram_model(), tokens_of(1, 10)
    other = tokens.clone()
    other[0, 6] = (other[0, 6] + 1) % VOCABULARY
    change = (model(tokens) - model(other)).abs().amax(dim=-1)[0]
    assert (change[:6] == 0).all()
    assert (change[6:] > 0).all()


@pytest.mark.parametrize("chunks", [(10,), (1,) * 10, (4, 1, 5)])
def test_cached_equals_uncached(chunks):
    model, tokens = ngram_model(), tokens_of(2, 10)
    cache = KVCache(model.config, 2, 12, dtype=torch.float64)
    with torch.inference_mode():
        parts = []
        for part in torch.split(tokens, list(chunks), dim=1):
            parts.append(model(part, cache=cache))
            cache.advance(part.shape[1])
        torch.testing.assert_close(torch.cat(parts, dim=1), model(tokens))


def test_a_reordered_or_truncated_cache_keeps_the_tokens_of_its_rows():
    model, tokens = ngram_model(), tokens_of(2, 8)
    cache = KVCache(model.config, 2, 12, dtype=torch.float64)
    with torch.inference_mode():
        model(tokens, cache=cache)
        cache.advance(8)
        cache.reorder(torch.tensor([1, 0]))
        cache.truncate(5)
        torch.testing.assert_close(model(tokens.flip(0)[:, 5:], cache=cache), model(tokens.flip(0))[:, 5:])


@pytest.mark.parametrize("settings", [{"ngram_length": 3}, {"ngram_rows": 100}])
def test_length_and_rows_belong_together(settings):
    with pytest.raises(ValueError, match="give both or neither"):
        ModelTable.model_validate(settings)


@pytest.mark.gpu
def test_on_cuda():
    model, tokens = ngram_model(), tokens_of(2, 8)
    expected = model(tokens)
    torch.testing.assert_close(model.cuda()(tokens.cuda()).cpu(), expected)
