"""Stages of use: text that is drawn as often as the model says, the same over HTTP, and the same model elsewhere."""

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from hornbook.checkpoint.load import load_checkpoint
from hornbook.config.generate import GenerateConfig
from hornbook.config.model import ModelTable
from hornbook.config.serve import ServeConfig
from hornbook.data.synthetic import MarkovSource
from hornbook.errors import HornbookError, MissingExtraError
from hornbook.generation.kernel_backend import why_not
from hornbook.generation.text import generate_text
from hornbook.interop.hf import import_hf
from hornbook.interop.hf_export import export_hf
from hornbook.models.transformer import Transformer
from hornbook.selftest.doctor_check import Check
from hornbook.selftest.doctor_text import SOURCE, letters, plain_bytes, save_model
from hornbook.selftest.doctor_training import STANDARD_ERRORS
from hornbook.tokenizer.tokenizer import Tokenizer

_PROMPTS = ("the first prompt", "another", "7")
_CONTEXT, _TOKENS = 64, 40
_ROWS = 64
"""Texts that are drawn together."""
_NEVER = -100.0
"""Logit of what the source does not write."""
_PATIENCE = 20.0
"""Seconds for an answer, or for the server to start."""
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Whatever proxy the environment names: the server is on this machine."""


def generate(folder: Path) -> list[Check]:
    """Greedy text with a cache of keys and values and without; and text of a chain's own model beside the chain."""
    del folder
    model, tokenizer = _untrained()
    without = _greedy(model, tokenizer, cache=False)
    backends = ["torch"] if why_not(model, "float32") else ["torch", "kernel"]
    cached = []
    for backend in backends:
        found = _greedy(model, tokenizer, backend=backend)
        unlike = sum(one != other for one, other in zip(found, without, strict=True))
        what = f"of {len(without)} texts unlike those without a cache, by {backend}"
        cached.append(Check(what=what, value=unlike, truth=0))
    return [*cached, _drawn()]


def serve(folder: Path) -> list[Check]:
    """Texts over HTTP, whole and in pieces and drawn, beside those of the same model asked directly."""
    model, tokenizer = _untrained()
    asked: list[dict[str, object]] = [{"prompt": prompt, "temperature": 0} for prompt in _PROMPTS]
    asked += [{**each, "stream": True} for each in asked]
    asked.append({"prompt": _PROMPTS[0], "temperature": 1.0, "seed": 5})
    expected = [*_greedy(model, tokenizer) * 2, _text(model, tokenizer, temperature=1.0, seed=5)]
    with _serving(model, tokenizer, folder) as url:
        found = [_completion(url, each) for each in asked]
    unlike = sum(one != other for one, other in zip(found, expected, strict=True))
    return [Check(what=f"of {len(asked)} answers over HTTP unlike the model's own", value=unlike, truth=0)]


def export(folder: Path) -> list[Check]:
    """A directory as transformers has it, by whom it can be read here, and the weights that come back from it."""
    model, tokenizer = _untrained()
    checkpoint = load_checkpoint(save_model(model, tokenizer, folder / "checkpoints"))
    written = export_hf(checkpoint, folder / "exported", layout="llama")
    back = import_hf(folder / "exported")
    weights = model.state_dict()
    unlike = sum(int((back.weights[name] != tensor).sum()) for name, tensor in weights.items())
    total = sum(tensor.numel() for tensor in weights.values())
    reader, difference = str(written["checked_by"]), float(written["largest_difference"])
    scale = model(torch.arange(_CONTEXT)[None]).abs().max().item()
    return [
        Check(
            what=f"largest difference of logits, as {reader} reads them, to the largest of them",
            value=difference / scale,
            truth=0.0,
            above=1e-4,
        ),
        Check(what=f"of {total:,} weights back as other ones", value=unlike, truth=0),
    ]


def _untrained() -> tuple[Transformer, Tokenizer]:
    """A model of bytes with weights so large that every token before matters."""
    tokenizer = plain_bytes()
    shape = {"context_length": _CONTEXT, "d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2}
    model = Transformer(ModelTable.model_validate(shape).complete(vocab_size=tokenizer.vocab_size))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3, generator=generator)
    return model.eval(), tokenizer


def _greedy(model: Transformer, tokenizer: Tokenizer, **settings: object) -> list[str]:
    """The likeliest continuations of the prompts."""
    config = GenerateConfig.model_validate({"temperature": 0.0, "max_new_tokens": _TOKENS, **settings})
    return [each.text for each in generate_text(model, tokenizer, _PROMPTS, config)]


def _text(model: Transformer, tokenizer: Tokenizer, **settings: object) -> str:
    """A continuation of the first prompt."""
    config = GenerateConfig.model_validate({"max_new_tokens": _TOKENS, **settings})
    return generate_text(model, tokenizer, _PROMPTS[:1], config)[0].text


def _drawn() -> Check:
    """Letters that a model draws whose probabilities are those of a chain: surprise beside what it must be on average.

    Given the letter before, surprise differs from the entropy of its row by chance alone, by a known variance.
    """
    source = MarkovSource(SOURCE)
    model, tokenizer = _chain(source.transitions), letters()
    config = GenerateConfig(temperature=1.0, max_new_tokens=_CONTEXT - 1)
    made = generate_text(model, tokenizer, ["a"] * _ROWS, config, seeds=range(_ROWS))
    rows = [[0, *each.tokens] for each in made]
    before = np.concatenate([row[:-1] for row in rows])
    after = np.concatenate([row[1:] for row in rows])
    surprise = -np.log(source.transitions)
    expected = (source.transitions * surprise).sum(axis=1)
    variance = (source.transitions * (surprise - expected[:, None]) ** 2).sum(axis=1)
    error = STANDARD_ERRORS * float(np.sqrt(variance[before].sum())) / len(before)
    return Check(
        what=f"nats a letter, of {len(before):,} letters drawn",
        value=float(surprise[before, after].mean()),
        truth=float(expected[before].mean()),
        below=error,
        above=error,
    )


def _chain(transitions: np.ndarray) -> Transformer:
    """A model whose next-token probabilities are those of a chain of order 1: its blocks add nothing, and each token's
    embedding has a dimension of its own, in which the head looks up the logarithms."""
    n, vocab_size = len(transitions), letters().vocab_size
    shape = {"context_length": _CONTEXT, "d_model": 16, "n_layers": 1, "n_heads": 2, "tie_embeddings": False}
    model = Transformer(ModelTable.model_validate(shape).complete(vocab_size=vocab_size))
    logits = torch.full((vocab_size, 16), _NEVER)
    logits[:n, :n] = torch.from_numpy(np.log(transitions.T)).float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter.zero_()
        model.token_embedding.weight.copy_(torch.eye(vocab_size, 16))
        assert isinstance(model.head, torch.nn.Linear)
        model.head.weight.copy_(logits / 16**0.5)  # what the norm makes of a one among zeros
    return model.eval()


@contextmanager
def _serving(model: Transformer, tokenizer: Tokenizer, folder: Path) -> Iterator[str]:
    """The URL of a server of this process, on any port that is free."""
    try:
        from hornbook.serving.app import make_app
        from hornbook.serving.listening import listen_on, make_server
        from hornbook.serving.served_model import ServedModel
    except ImportError as error:
        raise MissingExtraError("hornbook serve", package=error.name or "fastapi", extra="serve") from None

    served = ServedModel(
        name="doctor",
        model=model,
        tokenizer=tokenizer,
        objective={"kind": "next_token"},
        path=folder,
        created=0,
        config=GenerateConfig(),
    )
    config = ServeConfig(port=0, drain_seconds=1)
    with listen_on(config) as listener:
        server = make_server(make_app([served], config, runs=folder), config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            until = time.monotonic() + _PATIENCE
            while not server.started:
                if not thread.is_alive() or time.monotonic() > until:
                    raise HornbookError("the server did not start")
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1/completions"
        finally:
            server.should_exit = True
            thread.join(timeout=_PATIENCE)


def _completion(url: str, fields: dict[str, object]) -> str:
    """What the server answers, put together where it came in pieces."""
    body = json.dumps({**fields, "max_tokens": _TOKENS}).encode()
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    with _direct.open(request, timeout=_PATIENCE) as response:
        answer = response.read().decode()
    if not fields.get("stream"):
        return str(json.loads(answer)["choices"][0]["text"])
    lines = [line.removeprefix("data: ") for line in answer.splitlines() if line.startswith("data: {")]
    return "".join(json.loads(line)["choices"][0]["text"] for line in lines)
