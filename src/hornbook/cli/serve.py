"""`hornbook serve`: models over HTTP, as OpenAI's clients speak it, and a page to talk to them.

Requests are told on stdout, one JSON object each, when it is not a terminal, and as lines on a terminal.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli import from_checkpoint
from hornbook.cli.configuration import not_negative, positive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hornbook.config.run import Config
    from hornbook.serving.served_model import ServedModel

KEY_VARIABLE = "HORNBOOK_API_KEY"
_OF_GENERATE = ("backend", "precision")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook serve` takes."""
    from_checkpoint.add_checkpoint_arguments(parser)
    parser.add_argument(
        "--model",
        dest="models",
        action="append",
        metavar="NAME=PATH",
        help="a run or checkpoint directory, and the name that clients call it by; may be repeated",
    )
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1: this machine alone)")
    parser.add_argument("--port", type=not_negative, help="default 8000; 0 is any that is free")
    parser.add_argument("--api-key", metavar="KEY", help=f"what clients must send; default: ${KEY_VARIABLE}, else none")
    parser.add_argument("--slots", type=positive, metavar="N", help="texts of a model that are decoded together")
    for name in _OF_GENERATE:
        kind, text = from_checkpoint.SAMPLING_FLAGS[name]
        parser.add_argument(f"--{name}", type=kind, metavar=name.upper(), help=text)
    parser.add_argument("--runs", metavar="DIR", help="folder whose runs the page shows (default: run.out_dir)")


def run(args: argparse.Namespace) -> int:
    """Serve until a signal ends it; the exit status is 0."""
    from hornbook.cli.configuration import maybe_print

    names = ("models", "host", "port", "slots", "runs")
    of_generate = {f"generate.{name}": value for name in _OF_GENERATE if (value := getattr(args, name)) is not None}
    config = from_checkpoint.load_settings(args, "serve", names, of_generate)
    if maybe_print(args, config):
        return 0
    _check_installed()
    from hornbook.serving.app import make_app
    from hornbook.serving.listening import listen_on, make_server

    key = _key(args)
    models = _open_models(args, config)
    serve = config.serve
    with listen_on(serve) as listener:
        told = _Told(config)
        runs = serve.runs or config.run.out_dir
        app = make_app(models, serve, runs=runs, key=key, log=told.request, note=from_checkpoint.note)
        _warn(serve.host, key)
        told.started(models, f"http://{_shown(serve.host)}:{listener.getsockname()[1]}")
        make_server(app, serve).run(sockets=[listener])
    return 0


def _check_installed() -> None:
    """Raise MissingExtraError where the server's packages are not there."""
    from hornbook.errors import MissingExtraError

    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("hornbook serve", package=error.name or "fastapi", extra="serve") from None


def _key(args: argparse.Namespace) -> str | None:
    """The API key; an empty one is a mistake, which would let everybody in.

    Raises:
        ConfigError: for a key that no header can carry.
    """
    from hornbook.errors import ConfigError

    given, where = args.api_key, "--api-key"
    if given is None:
        given, where = os.environ.get(KEY_VARIABLE), KEY_VARIABLE
    if given is None:
        return None
    if not given or not given.isascii() or not given.isprintable() or " " in given:
        raise ConfigError(f"{where}: expected one or more ASCII letters, digits and signs without spaces")
    return str(given)


def _open_models(args: argparse.Namespace, config: Config) -> list[ServedModel]:
    """All that are named, each under a name of its own.

    Raises:
        ConfigError: if none is named, or a name stands there twice.
        CheckpointError: for what is no checkpoint.
    """
    from hornbook.errors import ConfigError
    from hornbook.generation.choice import decoder_name
    from hornbook.serving.served_model import ServedModel, fitting

    named: list[tuple[str | None, Path | None]] = []
    if config.generate.checkpoint is not None or args.checkpoint is not None or not config.serve.models:
        named.append((None, config.generate.checkpoint if args.checkpoint is None else Path(args.checkpoint)))
    for model in config.serve.models:
        before, sign, after = model.partition("=")
        named.append((before, Path(after)) if sign and after else (None, Path(model)))
    opened = [
        (given, from_checkpoint.open_model(path, table="generate", best=args.best, config=config))
        for given, path in named
    ]
    are_mixed = len({decoder_name(config.generate, each.objective) for _, each in opened}) > 1
    served: dict[str, ServedModel] = {}
    for given, each in opened:
        name = given or (each.path.name if each.run is None else each.run.root.name)
        if name in served:
            raise ConfigError(f"two models are called {name!r}; name them: --model NAME=PATH")
        served[name] = ServedModel(
            name=name,
            model=each.model.eval(),
            tokenizer=each.tokenizer,
            objective=each.objective,
            path=each.path,
            created=int(each.path.stat().st_mtime),
            config=fitting(config.generate, each.objective) if are_mixed else config.generate,
            longest=config.serve.context_length,
        )
    return list(served.values())


def _warn(host: str, key: str | None) -> None:
    from hornbook.serving.gate import is_loopback

    if key is None and not is_loopback(host):
        from_checkpoint.note(
            f"warning: the server listens on {host} without an API key, so that whoever reaches this machine may use "
            f"it; give it one: --api-key KEY, or {KEY_VARIABLE}"
        )


def _shown(host: str) -> str:
    """An address as it stands in a URL."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


class _Told:
    """What the server says: one event when it is ready, and one a request."""

    def __init__(self, config: Config) -> None:
        from hornbook.tracking.console import speaks_to_people

        self._console = config.tracking.console
        self._tells_requests = config.serve.access_log
        self._for_people = speaks_to_people(self._console)

    def started(self, models: Sequence[ServedModel], url: str) -> None:
        """The server is ready."""
        from hornbook.tracking.console import emit

        if self._for_people:
            print(f"serving {', '.join(each.name for each in models)} at {url}; the page is there too. Ctrl-C ends it.")
            sys.stdout.flush()
        emit("serve", console=self._console, url=url, models=[each.entry() for each in models])

    def request(self, fields: dict[str, object]) -> None:
        """A request was answered."""
        from hornbook.tracking.console import emit
        from hornbook.tracking.figures import printable

        if not self._tells_requests:
            return
        if self._for_people:
            path = printable(str(fields["path"]))
            print(f"{fields['method']} {path} {fields['status']} {fields['seconds']} s", flush=True)
        emit("request", console=self._console, **fields)
