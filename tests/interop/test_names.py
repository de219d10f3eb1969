import pytest
import torch

from hornbook.errors import CheckpointError
from hornbook.interop.names import GPT2, LLAMA, Rule, expand, to_ours, to_theirs
from tiny_models import tiny_model

GPT2_SHAPE = {
    "norm": "layer_norm",
    "feed_forward": "gelu_tanh",
    "position": "learned",
    "bias": True,
}


@pytest.mark.parametrize(
    ("rules", "settings"),
    [
        (LLAMA, {"n_kv_heads": 2}),
        (LLAMA, {"tie_embeddings": False, "bias": True}),
        (GPT2, GPT2_SHAPE),
        (GPT2, {**GPT2_SHAPE, "tie_embeddings": False}),
    ],
)
def test_there_and_back_is_the_same(rules, settings):
    ours = tiny_model(**settings).state_dict()
    expanded = expand(rules, n_layers=2)
    theirs = to_theirs(ours, expanded)
    back, unknown = to_ours(theirs, expanded, rows_of=lambda name: ours[name].shape[0])
    assert unknown == []
    assert set(back) == set(ours)
    assert all(torch.equal(back[name], ours[name]) for name in ours)


def test_a_fused_transposed_matrix_is_cut_into_its_rows():
    rules = [Rule("fused", ("q", "k"), transposed=True)]
    fused = torch.arange(6.0).view(2, 3)  # 2 inputs, 3 outputs: one of q, two of k
    ours, unknown = to_ours({"fused": fused, "odd": fused}, rules, rows_of={"q": 1, "k": 2}.__getitem__)
    assert ours["q"].tolist() == [[0.0, 3.0]]
    assert ours["k"].tolist() == [[1.0, 4.0], [2.0, 5.0]]
    assert unknown == ["odd"]
    assert torch.equal(to_theirs(ours, rules)["fused"], fused)
    with pytest.raises(CheckpointError, match=r"fused: got 3 fused rows, expected 2 \+ 2"):
        to_ours({"fused": fused}, rules, rows_of=lambda _: 2)


def test_a_tensor_without_a_name_there_is_an_error():
    ours = tiny_model(ngram_length=2, ngram_rows=8).state_dict()
    with pytest.raises(CheckpointError, match=r"no name for: ngram_embedding\."):
        to_theirs(ours, expand(LLAMA, n_layers=2))


@pytest.mark.parametrize("rules", [LLAMA, GPT2])
def test_no_name_stands_twice(rules):
    for names in ([rule.theirs for rule in rules], [name for rule in rules for name in rule.ours]):
        assert len(set(names)) == len(names)
