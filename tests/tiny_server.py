"""Tiny models behind the real server, on a real port, in a thread."""

import functools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hornbook.config.chat import TEMPLATES
from hornbook.config.generate import GenerateConfig
from hornbook.config.model import ModelTable
from hornbook.config.serve import ServeConfig
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.models.transformer import Transformer
from hornbook.serving.app import make_app
from hornbook.serving.listening import listen_on, make_server
from hornbook.serving.served_model import ServedModel
from hornbook.tokenizer.tokenizer import Tokenizer
from tiny_project import text

CONTEXT = 96


@functools.cache
def tokenizer(*, chat: bool = True) -> Tokenizer:
    learned = Tokenizer.train(text().splitlines(), TokenizerConfig(vocab_size=300))
    return learned.with_chat_template(TEMPLATES["hornbook"]) if chat else learned


@functools.cache
def served(name: str = "tiny", kind: str = "next_token", *, chat: bool = True) -> ServedModel:
    """A model as random as on its first day."""
    own = tokenizer(chat=chat)
    shape = {"d_model": 16, "n_layers": 2, "n_heads": 2, "context_length": CONTEXT}
    model = Transformer(ModelTable.model_validate(shape).complete(vocab_size=own.vocab_size), seed=len(name)).eval()
    return ServedModel(
        name=name,
        model=model,
        tokenizer=own,
        objective={"kind": kind},
        path=Path("nowhere"),
        created=1,
        config=GenerateConfig(max_new_tokens=12),
    )


@contextmanager
def serving(
    *models: ServedModel, key: str | None = None, runs: Path = Path("no-runs"), **settings: object
) -> Iterator[str]:
    """The URL of a server that holds `models`; `settings` are those of [serve]."""
    config = ServeConfig.model_validate({"port": 0, "slots": 4, "queue": 8, "drain_seconds": 5, **settings})
    with listen_on(config) as listener:
        app = make_app(models, config, runs=runs, key=key)
        server = make_server(app, config)
        server.config.timeout_keep_alive = 5  # tests that wait for the end of a connection do not wait long
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=30)
            assert not thread.is_alive()
