"""Cards on text of known entropy: the chain itself as the model comes out at nothing above the least."""

import json

import numpy as np
import pytest
import torch

import hornbook
from hornbook import assemble
from hornbook.cli.main import main
from hornbook.config.load import load_config
from hornbook.data.dataset import Dataset
from hornbook.data.known_truth import known_truth
from hornbook.data.prepare import prepare
from hornbook.data.synthetic import MarkovSource
from hornbook.evaluation.perplexity import score_windows
from hornbook.evaluation.windows import WindowPlan
from hornbook.models.token_scores import TokenScores
from hornbook.tokenizer.tokenizer import Tokenizer

TOML = """
[run]
name = "{objective}"
out_dir = "{root}/runs"
device = "cpu"
threads = 1
[tokenizer]
path = "{root}/tokenizer"
kind = "characters"
special_tokens = "pretraining"
[data]
path = "{root}/data"
valid_fraction = 0.5
end_of_text = false
[data.source]
kind = "synthetic"
order = 2
n_symbols = 3
n_documents = 40
document_length = 200
[model]
context_length = 16
d_model = 16
n_layers = 1
n_heads = 2
[objective]
kind = "{objective}"
[train]
steps = 2
tokens_per_step = 64
micro_batch_size = 2
eval_every = 0
[tracking]
console = "none"
"""


def prepared(root, objective):
    path = root / f"{objective}.toml"
    path.write_text(TOML.format(root=root.as_posix(), objective=objective))
    config = load_config(path).config
    tokenizer = Tokenizer.train(["abc"], config.tokenizer)
    if not config.tokenizer.path.exists():
        tokenizer.save(config.tokenizer.path)
        prepare(config.data, tokenizer)
    return config


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("truth")


class TheChain:
    """A model that knows the probabilities, and no more of the past than it is shown."""

    def __init__(self, source):
        self.source = source

    def __call__(self, tokens, *, targets, asked=None):
        nll = torch.zeros(tokens.shape)
        joint = self.source.stationary[:, None] * self.source.transitions  # of (a, b, c)
        joint = joint.reshape(3, 3, 3)
        second = joint.sum(axis=2)
        for row, (read, wanted) in enumerate(zip(tokens.tolist(), targets.tolist(), strict=True)):
            for place, target in enumerate(wanted):
                if place == 0:
                    share = second[read[0], target] / second[read[0]].sum()
                else:
                    share = self.source.transitions[3 * read[place - 1] + read[place], target]
                nll[row, place] = -np.log(share)
        return TokenScores(nll=nll, logsumexp=nll, mean_logit=nll)


@pytest.mark.parametrize(
    ("protocol", "stride"), [("strided", 4), ("chunked", 8), ("exact", 1), ("last-token", 9), ("overlap-all", 3)]
)
def test_the_chain_itself_stands_at_the_least(root, protocol, stride):
    config = prepared(root, "next_token")
    dataset = Dataset.open(config.data.path)
    stream, source = dataset.split("valid"), MarkovSource(config.data.source)
    windows = WindowPlan(protocol=protocol, window=8, stride=stride).windows([(0, stream.n_tokens)])
    found = score_windows(TheChain(source), stream, windows, batch_size=64)
    firsts = np.repeat([at.start for at in windows], [at.scored for at in windows])
    truth = known_truth(dataset, "valid")
    assert truth is not None
    n = len(found.nats)
    excess = (found.nats.sum() - truth.nats(found.places, firsts)) / n
    # Nothing on average but what documents' first symbols cost, which such a model takes for symbols inside one.
    assert -5 * found.nats.std() / n**0.5 < excess < 0.02 + 5 * found.nats.std() / n**0.5
    if protocol in ("strided", "exact"):
        assert abs(truth.nats(found.places, firsts) / n - source.entropy_rate_nats) < 0.02


@pytest.mark.parametrize(("objective", "measure"), [("next_token", "perplexity"), ("masked_diffusion", "bound")])
def test_cards_tell_the_least_and_the_excess(root, capsys, objective, measure):
    config = prepared(root, objective)
    run = assemble.train(config).run_dir
    assert main(["eval", measure, str(run.root), "--stride", "16", "--max-tokens", "400"]) == 0
    card = json.loads(capsys.readouterr().out.splitlines()[-1])
    source, suffix = MarkovSource(config.data.source), "_at_most" if measure == "bound" else ""
    rate, first = source.entropy_rate_nats, source.entropy_nats(1)
    second = source.entropy_nats(2) - first
    shifted = measure == "perplexity"
    # Windows of 16 that start cold; a document of 200 begins inside one, where two symbols cost more.
    firsts = 0 if shifted else 25
    seconds = 25
    inside = 1  # of two documents the second begins at token 200, in the middle of a window
    least = rate + ((firsts + inside) * (first - rate) + (seconds + inside) * (second - rate)) / (399 + (not shifted))
    assert card["least_nats_per_token"] == pytest.approx(least, abs=1e-12)
    excess = card[f"nats_per_token{suffix}"] - least
    assert card[f"excess_nats_per_token{suffix}"] == pytest.approx(excess)
    assert excess > 0
    by_call = hornbook.evaluate(run.root, data=config.data.path, stride=16, max_tokens=400)
    assert by_call.least_nats_per_token == card["least_nats_per_token"]


def test_of_other_text_the_least_is_not_known(root, tmp_path, capsys):
    run = root / "runs" / "next_token"
    (tmp_path / "text").write_text("abcabc" * 20)
    assert main(["eval", "perplexity", str(run), "--text", str(tmp_path / "text")]) == 0
    card = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert card["least_nats_per_token"] is None
    assert "excess_nats_per_token" not in card
