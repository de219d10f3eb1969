import pytest
import torch

from hornbook.models.positions import rotate, rotation, sinusoid
from oracles.transformer import rotate as slow_rotate
from oracles.transformer import sinusoid as slow_sinusoid


@pytest.mark.parametrize("d_model", [2, 7, 16, 512])
def test_sinusoid_equals_the_formula(d_model):
    positions = torch.tensor([[0, 1, 5, 255], [1000, 2, 3, 4]])
    expected = torch.stack(
        [torch.stack([torch.from_numpy(slow_sinusoid(p, d_model)) for p in row]) for row in positions.tolist()]
    )
    # The angle is a float32: relative error of three roundings, so the position times 3 * 2^-24 in absolute terms.
    torch.testing.assert_close(sinusoid(positions, d_model=d_model).double(), expected, rtol=0, atol=1000 * 3 * 2**-24)


def test_every_frequency_of_the_sinusoid_counts():
    table = sinusoid(torch.arange(256)[None], d_model=512)[0]
    assert (table.std(dim=0)[::2] > 1e-3).all()  # the slowest sine still rises to 0.026 within the context


@pytest.mark.parametrize("theta", [100.0, 10_000.0])
@pytest.mark.parametrize("head_dim", [2, 8])
def test_rotation_equals_the_formula(head_dim, theta):
    x = torch.randn(2, 3, 4, head_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    positions = torch.tensor([[0, 1, 2, 3], [7, 7, 0, 100]])
    got = rotate(x, rotation(positions, head_dim=head_dim, theta=theta))
    for row in range(2):
        for head in range(3):
            for i in range(4):
                expected = slow_rotate(x[row, head, i].numpy(), positions[row, i].item(), theta)
                # Angles in float32, as for the sinusoid; |x| is below 4.
                torch.testing.assert_close(
                    got[row, head, i], torch.from_numpy(expected), rtol=0, atol=8 * 100 * 3 * 2**-24
                )


def test_scores_depend_on_the_distance_alone_and_norms_on_nothing():
    q, k = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(1))

    def turned(x, position):
        return rotate(x, rotation(torch.tensor([[position]]), head_dim=8, theta=10_000.0))

    def score(i, j):
        return (turned(q, i) * turned(k, j)).sum().item()

    for shift in (1, 10, 100):
        assert score(5 + shift, 2 + shift) == pytest.approx(score(5, 2), abs=1e-4)
    assert abs(score(6, 2) - score(5, 2)) > 1e-2
    assert turned(q, 50).norm().item() == pytest.approx(q.norm().item(), rel=1e-6)
    assert torch.equal(turned(q, 0), q)


def test_angles_stay_float32_for_bfloat16_vectors():
    x = torch.ones(1, 1, 1, 4, dtype=torch.bfloat16)
    turn = rotation(torch.tensor([[1001]]), head_dim=4, theta=10_000.0)
    assert turn.cos.dtype == torch.float32
    got = rotate(x, turn)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, rotate(x.float(), turn).bfloat16())  # one rounding, at the end
