"""Models trained on text of known entropy come as near to it as the text allows."""

import json
from pathlib import Path

import pytest

from hornbook import assemble
from hornbook.cli.main import main
from hornbook.config.load import load_config
from hornbook.data.prepare import prepare
from hornbook.data.synthetic import SYMBOLS, MarkovSource
from hornbook.tokenizer.tokenizer import Tokenizer

TOML = """
[run]
name = "chain"
seed = 1
device = "cpu"
[tokenizer]
path = "tokenizer"
kind = "characters"
special_tokens = "none"
[data]
path = "data"
valid_fraction = 0.02
end_of_text = false
[data.source]
kind = "synthetic"
order = 2
n_symbols = 64
n_documents = 400
document_length = 16_384
concentration = 0.05
[model]
context_length = 128
d_model = 64
n_layers = 1
n_heads = 1
d_ff = 64
feed_forward = "relu2"
qk_norm = true
tie_embeddings = false
ngram_length = 2
ngram_rows = 4225                      # a row for each pair of 64 symbols and "none"
init = "zero"
[optim]
kind = "muon"
learning_rate = 0.03
betas = [0.9, 0.99]
weight_decay = 0.0
ema_decay = 0.99
[optim.groups.embedding]
learning_rate = 0.15
[optim.groups.head]
learning_rate = 0.02
[schedule]
kind = "wsd"
warmup_fraction = 0.02
decay_fraction = 0.8
[train]
steps = 2000
tokens_per_step = 8192
micro_batch_size = 64
compile = "off"
eval_every = 2000
[checkpoint]
full_every = 0
[tracking]
console = "none"
"""


@pytest.mark.slow
def test_a_chain_of_order_two_over_64_symbols_is_learnt_to_within_0_02_nats(tmp_path, monkeypatch, capsys):
    """6.4 million symbols: 4,096 contexts, each seen 1,600 times on average, of which some four symbols come often.

    Counting alone would leave about contexts * symbols in use / (2 * symbols read) = 0.002 nats; the validation text,
    65,536 symbols, is by chance 0.005 nats harder or easier than it should be (one standard deviation). Two and a half
    passes leave 0.015; two minutes.
    """
    monkeypatch.chdir(tmp_path)
    Path("chain.toml").write_text(TOML)
    config = load_config(Path("chain.toml")).config
    tokenizer = Tokenizer.train([SYMBOLS[:64]], config.tokenizer)
    assert tokenizer.vocab_size == 64
    tokenizer.save(config.tokenizer.path)
    prepare(config.data, tokenizer)
    run = assemble.train(config).run_dir
    assert main(["eval", "perplexity", str(run.root), "--stride", "128"]) == 0
    card = json.loads(capsys.readouterr().out.splitlines()[-1])
    rate = MarkovSource(config.data.source).entropy_rate_nats
    assert card["least_nats_per_token"] == pytest.approx(rate, abs=0.02)  # windows begin cold
    assert card["tokens_scored"] == 65_535
    assert -0.015 < card["excess_nats_per_token"] < 0.02
