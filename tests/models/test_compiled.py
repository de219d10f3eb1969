"""Training by compiled code gives what training operation by operation gives."""

import subprocess
import sys

import pytest
import torch

from hornbook.models.transformer import Transformer
from tiny_models import VOCABULARY, tiny_model

# Sums in another order: some 100 terms of size 1 in float64 differ by 100 * 2^-53; two layers grow that little.
ROUNDING = 1e-12


def loss_and_gradients(model: Transformer, *, compiled: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.compiled = compiled
    tokens = torch.randint(VOCABULARY, (2, 17), generator=torch.Generator().manual_seed(3))
    loss = model(tokens[:, :-1], targets=tokens[:, 1:], chunk_tokens=10).nll.sum()
    model.zero_grad()
    loss.backward()
    return loss, {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.medium
@pytest.mark.compiles
@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_compiled_training_equals_eager(activation_checkpointing):
    model = tiny_model(qk_norm=True).train()
    model.activation_checkpointing = activation_checkpointing
    expected, wanted = loss_and_gradients(model, compiled=False)
    loss, gradients = loss_and_gradients(model, compiled=True)
    torch.testing.assert_close(loss, expected, rtol=ROUNDING, atol=0)
    assert gradients.keys() == wanted.keys() == dict(model.named_parameters()).keys()
    for name in wanted:
        torch.testing.assert_close(gradients[name], wanted[name], rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.medium
@pytest.mark.compiles
def test_layers_share_one_graph_and_names_stay_bare():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model = tiny_model(n_layers=5).train()
    loss_and_gradients(model, compiled=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 3  # layer, scores, and what surrounds their call
    assert not any("orig_mod" in name for name in model.state_dict())


@pytest.mark.medium
def test_importing_the_model_imports_no_compiler():
    code = "import sys, hornbook.models.transformer; sys.exit('torch._inductor.compile_fx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
