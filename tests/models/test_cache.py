import pytest
import torch

from hornbook.errors import GenerationError
from hornbook.models.cache import KVCache
from hornbook.models.masks import FULL
from hornbook.models.transformer import Transformer
from tiny_models import HEADS, POSITIONS, VOCABULARY, tiny_config, tiny_model

# float64 models: whatever a mask or a position gets wrong is far above the rounding of sums of a few dozen terms.
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def tokens_of(n_rows, length, seed=0):
    return torch.randint(VOCABULARY, (n_rows, length), generator=torch.Generator().manual_seed(seed))


def empty_cache(model, n_rows, max_length=16):
    return KVCache(model.config, n_rows, max_length, dtype=torch.float64)


def stepwise(model, tokens, chunks, cache):
    """Logits of `tokens` fed in pieces of the given sizes."""
    parts = []
    for chunk in torch.split(tokens, chunks, dim=1):
        parts.append(model(chunk, cache=cache))
        cache.advance(chunk.shape[1])
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("norm_position", ["pre", "post"])
@torch.inference_mode()
def test_cached_equals_uncached_at_every_step(position, heads, norm_position):
    model = tiny_model(
        position=position, n_heads=heads[0], n_kv_heads=heads[1], norm_position=norm_position, qk_norm=True
    )
    tokens = tokens_of(2, 10)
    expected = model(tokens)
    for chunks in ([10], [1] * 10, [5, 1, 1, 1, 1, 1], [3, 4, 1, 2]):
        torch.testing.assert_close(stepwise(model, tokens, chunks, empty_cache(model, 2)), expected, **EXACT)


@pytest.mark.parametrize("position", POSITIONS)
@torch.inference_mode()
def test_float32_within_1e5(position):
    model = Transformer(tiny_config(position=position, n_kv_heads=2))
    tokens = tokens_of(2, 12)
    got = stepwise(model, tokens, [4, 3, 1, 1, 1, 1, 1], KVCache(model.config, 2, 12))
    torch.testing.assert_close(got, model(tokens), rtol=0, atol=1e-5)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("heads", HEADS)
@torch.inference_mode()
def test_a_ragged_batch_equals_each_row_alone(position, heads):
    model = tiny_model(position=position, n_heads=heads[0], n_kv_heads=heads[1])
    lengths, total = torch.tensor([6, 1, 4]), 6
    rows = tokens_of(3, 12)
    expected = model(rows)
    prompts = torch.where(torch.arange(total) < lengths[:, None], rows[:, :total], VOCABULARY - 1)
    cache = empty_cache(model, 3)
    got = model(prompts, cache=cache)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(got[row, :length], expected[row, :length], **EXACT)
    cache.advance(lengths)
    for n_new in (1, 1, 2, 1):  # single steps and a chunk, each row at its own position
        positions = cache.next_positions(n_new)
        got = model(rows.gather(1, positions), positions=positions, cache=cache)
        wanted = expected.gather(1, positions[..., None].expand(-1, -1, VOCABULARY))
        torch.testing.assert_close(got, wanted, **EXACT)
        cache.advance(n_new)
    assert cache.lengths.tolist() == [11, 6, 9]


@torch.inference_mode()
def test_a_finished_row_may_stand_still():
    model, rows = tiny_model(n_kv_heads=2), tokens_of(2, 8)
    expected = model(rows)
    cache = empty_cache(model, 2)
    model(rows[:, :4], cache=cache)
    cache.advance(4)
    for step in range(4, 8):  # row 1 has finished: it writes its slot 4 again and again and never advances
        got = model(rows[:, step : step + 1], cache=cache)
        torch.testing.assert_close(got[0, 0], expected[0, step], **EXACT)
        cache.advance(torch.tensor([1, 0]))
    assert cache.lengths.tolist() == [8, 4]


@torch.inference_mode()
def test_full_attention_rewrites_a_block_in_the_middle():
    model, rows = tiny_model(n_kv_heads=2), tokens_of(2, 9)
    # With full attention every entry depends on every token below the top layer, so one layer is where a block can be
    # exchanged exactly.
    model.layers = model.layers[:1]
    changed = rows.clone()
    changed[:, 3:6] = tokens_of(2, 3, seed=1)
    cache = empty_cache(model, 2)
    torch.testing.assert_close(model(rows, cache=cache, mask=FULL), model(rows, mask=FULL), **EXACT)
    cache.advance(9)
    positions = torch.arange(3, 6).expand(2, -1)
    got = model(changed[:, 3:6], positions=positions, cache=cache, mask=FULL)
    torch.testing.assert_close(got, model(changed, mask=FULL)[:, 3:6], **EXACT)


@torch.inference_mode()
def test_full_attention_sees_only_the_filled_part_of_each_row():
    model, rows = tiny_model(n_layers=1), tokens_of(2, 6)
    cache = empty_cache(model, 2)
    model(rows, cache=cache, mask=FULL)  # row 1 will forget the last three
    cache.advance(torch.tensor([6, 3]))
    got = model(rows[:, :3], positions=torch.arange(3).expand(2, -1), cache=cache, mask=FULL)
    torch.testing.assert_close(got[:1], model(rows[:1], mask=FULL)[:, :3], **EXACT)
    torch.testing.assert_close(got[1:], model(rows[1:, :3], mask=FULL), **EXACT)


@torch.inference_mode()
def test_truncate_and_go_on_another_way():
    model, rows = tiny_model(), tokens_of(2, 8)
    cache = empty_cache(model, 2)
    stepwise(model, tokens_of(2, 8, seed=9), [8], cache)
    cache.reset()
    stepwise(model, torch.cat((rows[:, :3], tokens_of(2, 4, seed=5)), dim=1), [7], cache)
    cache.truncate(torch.tensor([3, 3]))
    torch.testing.assert_close(stepwise(model, rows[:, 3:], [1, 4], cache), model(rows)[:, 3:], **EXACT)
    cache.truncate(20)
    assert cache.lengths.tolist() == [8, 8]
    with pytest.raises(GenerationError, match="to -1 tokens"):
        cache.truncate(-1)


@torch.inference_mode()
def test_reorder_copies_repeats_and_drops_rows():
    model, rows = tiny_model(n_kv_heads=1), tokens_of(3, 6)
    cache = empty_cache(model, 3)
    model(rows[:, :4], cache=cache)
    cache.advance(torch.tensor([4, 3, 2]))
    chosen = torch.tensor([2, 0, 0, 2])
    cache.reorder(chosen)
    assert cache.batch_size == 4
    assert cache.lengths.tolist() == [2, 4, 4, 2]
    positions = cache.next_positions(1)
    got = model(rows[chosen].gather(1, positions), cache=cache)
    wanted = model(rows)[chosen, positions[:, 0]]
    torch.testing.assert_close(got[:, 0], wanted, **EXACT)
    cache.keys[0][1] += 1  # the copies are copies
    assert not torch.equal(cache.keys[0][1], cache.keys[0][2])


@torch.inference_mode()
def test_writing_past_the_end_is_an_error():
    model = tiny_model()
    cache = empty_cache(model, 1, max_length=4)
    with pytest.raises(GenerationError, match="positions 0 to 3, got 0 to 4"):
        model(tokens_of(1, 5), cache=cache)
    model(tokens_of(1, 4), cache=cache)
    cache.advance(4)
    with pytest.raises(GenerationError, match="got 4 to 4"):
        model(tokens_of(1, 1), cache=cache)
    with pytest.raises(GenerationError, match="grow to 5 tokens, it holds 4"):
        cache.advance(1)
    with pytest.raises(GenerationError, match="got -1 to -1"):
        model(tokens_of(1, 1), positions=torch.tensor([[-1]]), cache=cache)
    assert cache.lengths.tolist() == [4]


@torch.inference_mode()
def test_positions_beyond_the_learned_table_are_an_error():
    model = tiny_model(position="learned")
    cache = empty_cache(model, 1, max_length=20)
    model(tokens_of(1, 16), cache=cache)
    cache.advance(16)
    with pytest.raises(GenerationError, match="context_length = 16"):
        model(tokens_of(1, 1), cache=cache)


def test_other_rows_and_recorded_gradients_are_errors():
    model = tiny_model()
    with pytest.raises(GenerationError, match="has 2 rows, the tokens have 1"):
        model(tokens_of(1, 3), cache=empty_cache(model, 2))
    with pytest.raises(GenerationError, match="inference_mode"):
        model(tokens_of(1, 3), cache=empty_cache(model, 1))


def test_memory_is_that_of_the_key_value_heads():
    config = tiny_config(n_kv_heads=1)
    cache = KVCache(config, 3, 10, dtype=torch.bfloat16)
    assert cache.n_bytes == 2 * config.n_layers * 3 * 1 * 10 * config.head_dim * 2
    assert all(tensor.shape == (3, 1, 10, 4) for tensor in (*cache.keys, *cache.values))


@torch.inference_mode()
def test_a_bfloat16_cache_serves_a_float32_model():
    model, tokens = Transformer(tiny_config()), tokens_of(1, 8)
    got = stepwise(model, tokens, [5, 1, 1, 1], KVCache(model.config, 1, 8, dtype=torch.bfloat16))
    # Keys and values of size about 1 rounded to 2^-9, in two layers; logits are of size 0.1.
    torch.testing.assert_close(got, model(tokens), rtol=0, atol=4 * 2**-9)
