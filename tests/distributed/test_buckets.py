"""How parameters are laid out in buckets and dealt to owners."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hornbook.config.distributed import DistributedConfig
from hornbook.config.model import ModelTable
from hornbook.config.optim import AdamWConfig, MuonConfig
from hornbook.distributed.buckets import plan
from hornbook.distributed.process_group import Processes
from hornbook.distributed.sharded_optimizer import owners_of
from hornbook.models.transformer import Transformer, roles
from hornbook.optim.build import update_costs
from hornbook.training.start import build_strategy

SIZES = st.lists(st.integers(1, 3000), min_size=1, max_size=20)


def parameters(sizes: list[int], dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    return [nn.Parameter(torch.empty(size, dtype=dtype)) for size in sizes]


@settings(deadline=None)
@given(SIZES, st.integers(0, 9000), st.integers(1, 4))
def test_every_parameter_is_in_one_bucket_and_none_is_too_large(sizes: list[int], limit: int, n: int) -> None:
    made = parameters(sizes)
    owners = dict(zip(made, owners_of(made, n), strict=True))
    buckets = plan(made, limit=limit, owner=owners.__getitem__)
    held = [parameter for bucket in buckets for parameter in bucket.parameters]
    assert {id(each) for each in held} == {id(each) for each in made}
    assert len(held) == len(made)
    for bucket in buckets:
        payload = sum(each.nbytes for each in bucket.parameters)
        assert not limit or payload <= limit or len(bucket.parameters) == 1
        # What travels besides: up to 15 numbers of padding and one of use for each parameter.
        assert payload <= bucket.flat.nbytes <= payload + 16 * 4 * len(bucket.parameters)
        assert [view.shape for view in bucket.views] == [each.shape for each in bucket.parameters]
        ends = [place.stop for _, place, _ in bucket.segments]
        assert [place.start for _, place, _ in bucket.segments] == [0, *ends[:-1]]
        assert ends[-1] == bucket.tail
        assert bucket.owners == sorted(bucket.owners)
        for owner, place, indices in bucket.segments:
            for index in indices:
                assert bucket.owners[index] == owner
                assert place.start <= bucket.starts[index] < place.stop
    if not limit:
        assert len(buckets) == 1


def test_the_last_parameters_come_first() -> None:
    made = parameters([10, 10, 10, 10])
    first, second = plan(made, limit=80, owner=lambda _: 0)
    assert {id(each) for each in first.parameters} == {id(made[3]), id(made[2])}
    assert {id(each) for each in second.parameters} == {id(made[1]), id(made[0])}


def test_types_do_not_mix() -> None:
    made = [*parameters([4, 4]), *parameters([4], torch.float64)]
    buckets = plan(made, limit=0, owner=lambda _: 0)
    assert [bucket.flat.dtype for bucket in buckets] == [torch.float64, torch.float32]


@settings(deadline=None)
@given(SIZES, st.integers(1, 5))
def test_owners_are_balanced(sizes: list[int], n: int) -> None:
    owners = owners_of(parameters(sizes), n)
    loads = [sum(size for size, owner in zip(sizes, owners, strict=True) if owner == each) for each in range(n)]
    least = max(max(sizes), -(-sum(sizes) // n))  # no way of dealing is better than this
    assert max(loads) <= 4 / 3 * least + max(sizes) / 3
    assert owners == owners_of(parameters(sizes), n)


def test_orthogonalised_matrices_are_dealt_by_themselves() -> None:
    # A vocabulary as large as eight matrices: dealt by size, one process would have nearly all that is orthogonalised.
    shape = {"vocab_size": 4096, "context_length": 8, "d_model": 256, "n_heads": 4, "tie_embeddings": True}
    model = Transformer(ModelTable(**shape, n_layers=2).complete(vocab_size=4096))
    named = dict(model.named_parameters())
    costs = update_costs(named.items(), roles(model), MuonConfig())
    work = [costs[name] if roles(model)[name] == "matrix" else 0 for name in named]

    def most(owners: list[int]) -> float:
        return max(sum(each for each, owner in zip(work, owners, strict=True) if owner == n) for n in (0, 1))

    parameters = list(named.values())
    assert most(owners_of(parameters, 2)) > 0.8 * sum(work)
    assert most(owners_of(parameters, 2, list(costs.values()))) < 0.55 * sum(work)
    by_size = update_costs(named.items(), roles(model), AdamWConfig())
    assert list(by_size.values()) == [each.numel() for each in parameters]
    processes = Processes(rank=0, world_size=2)
    assert build_strategy(DistributedConfig(), processes, costs=costs).costs == costs
