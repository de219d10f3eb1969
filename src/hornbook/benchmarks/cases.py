"""What is compared: the tokenizer with `tokenizers`, the training step and greedy decoding with `transformers`.

Each case checks first that both sides compute the same thing (ids, loss, tokens), so that no ratio flatters a shortcut.
Peers run in their own best ordinary way: batch encoding on all threads, a fused optimizer, their own cache. Training is
compared in float32 and in bfloat16 autocast, the peer at the same precision.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from hornbook.benchmarks.alternate import Ratio, alternate
from hornbook.config.data import EmbeddedSource
from hornbook.config.generate import SamplingConfig
from hornbook.config.model import ModelConfig
from hornbook.config.optim import OptimConfig
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.data.sources import SourceReport, open_source
from hornbook.errors import MissingExtraError
from hornbook.generation.autoregressive import Autoregressive
from hornbook.interop.hf import config_from_hf, weights_from_hf
from hornbook.models.transformer import Transformer, roles
from hornbook.optim.adamw import AdamW
from hornbook.optim.groups import parameter_groups
from hornbook.tokenizer.tokenizer import Tokenizer

LEARNING_RATE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    case: str
    peer: str
    unit: str
    amount: float
    """How much of `unit` one block works through."""
    ratio: Ratio


def tokenizer_rows(*, n_documents: int = 300, blocks: int = 7) -> list[Row]:
    """Encoding the embedded corpus, against the `tokenizers` library with the same merges."""
    try:
        import tokenizers
    except ImportError as error:
        raise MissingExtraError("bench tokenizer", package="tokenizers", extra="hf") from error
    report = SourceReport()
    documents = [d.text for d in islice(open_source(EmbeddedSource(), on_error="stop", report=report), n_documents)]
    ours = Tokenizer.train(documents, TokenizerConfig(vocab_size=1024))
    theirs = tokenizers.Tokenizer.from_str(ours.to_hugging_face())
    texts = [document.decode() for document in documents]
    expected = [encoding.ids for encoding in theirs.encode_batch_fast(texts)]
    assert ours.encode_batch(documents)[0].tolist() == [i for ids in expected for i in ids], "the ids differ"
    megabytes = sum(map(len, documents)) / 1e6
    ratio = alternate(lambda: ours.encode_batch(documents), lambda: theirs.encode_batch_fast(texts), blocks=blocks)
    return [Row(case="encode", peer="tokenizers", unit="MB", amount=megabytes, ratio=ratio)]


def train_rows(*, d_model: int = 256, blocks: int = 7) -> list[Row]:
    """Forward, backward and update of a small Llama, against transformers with torch's fused AdamW."""
    return [_train_row(precision, d_model=d_model, blocks=blocks) for precision in ("fp32", "bf16")]


def _train_row(precision: str, *, d_model: int, blocks: int) -> Row:
    theirs, ours = _llama_pair(d_model=d_model)
    tokens = torch.randint(0, ours.config.vocab_size, (8, ours.config.context_length + 1))
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    settings = OptimConfig(learning_rate=LEARNING_RATE, decay=("matrix", "embedding", "head", "norm", "bias"))

    def our_loss() -> Tensor:
        return ours(inputs, targets=targets).nll.mean()  # type: ignore[no-any-return]

    def their_loss() -> Tensor:
        return torch.nn.functional.cross_entropy(
            theirs(input_ids=inputs).logits.float().flatten(0, 1), targets.flatten()
        )

    gap = abs(our_loss().item() - their_loss().item())
    assert gap < 1e-4, f"the losses differ by {gap}"
    our_optimizer = AdamW(parameter_groups(ours.named_parameters(), roles(ours), settings), settings)
    their_optimizer = torch.optim.AdamW(
        theirs.parameters(), lr=LEARNING_RATE, weight_decay=settings.weight_decay, fused=True
    )
    ratio = alternate(
        _Step(our_loss, our_optimizer, precision), _Step(their_loss, their_optimizer, precision), blocks=blocks
    )
    return Row(case=f"train {precision}", peer="transformers", unit="tokens", amount=inputs.numel(), ratio=ratio)


@dataclass(frozen=True)
class _Step:
    """One update of either side, as its block."""

    loss: Callable[[], Tensor]
    optimizer: torch.optim.Optimizer
    precision: str

    def __call__(self) -> None:
        with torch.autocast("cpu", torch.bfloat16) if self.precision == "bf16" else nullcontext():
            value = self.loss()
        value.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()


def decode_rows(*, d_model: int = 256, new_tokens: int = 64, blocks: int = 7) -> list[Row]:
    """Greedy decoding of one row with the KV cache in float32, against transformers' generate."""
    theirs, ours = _llama_pair(d_model=d_model)
    prompt = torch.randint(3, ours.config.vocab_size, (1, 32))
    decoder = Autoregressive(SamplingConfig(temperature=0.0))

    def our_tokens() -> list[int]:
        chunks = decoder(ours, prompt.tolist(), max_new_tokens=new_tokens, stop_ids=(), seeds=[0])
        return [int(token) for chunk in chunks for token in chunk.tokens[0]]

    def their_tokens() -> list[int]:
        out: Tensor = theirs.generate(prompt, max_new_tokens=new_tokens, do_sample=False)
        return [int(token) for token in out[0, prompt.shape[1] :]]

    assert our_tokens() == their_tokens(), "the tokens differ"
    ratio = alternate(our_tokens, their_tokens, blocks=blocks)
    return [Row(case="decode fp32", peer="transformers", unit="tokens", amount=new_tokens, ratio=ratio)]


CASES: dict[str, Callable[..., list[Row]]] = {"tokenizer": tokenizer_rows, "train": train_rows, "decode": decode_rows}


def _llama_pair(*, d_model: int) -> tuple[Any, Transformer]:
    """Their randomly initialised Llama, and ours with the same weights."""
    try:
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError as error:
        raise MissingExtraError("bench train and bench decode", package="transformers", extra="hf") from error
    settings = LlamaConfig(
        vocab_size=4096,
        hidden_size=d_model,
        intermediate_size=(8 * d_model // 3 + 31) // 32 * 32,
        num_hidden_layers=4,
        num_attention_heads=d_model // 64,
        num_key_value_heads=d_model // 64,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        eos_token_id=None,
        bos_token_id=None,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    theirs = LlamaForCausalLM(settings).eval()
    config: ModelConfig = config_from_hf(settings.to_dict())
    ours = Transformer(config)
    ours.load_state_dict(weights_from_hf(theirs.state_dict(), config))
    return theirs, ours.eval()
