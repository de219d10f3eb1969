"""`[serve]`: models over HTTP, as OpenAI's clients speak it. What a request leaves out is as `[generate]` says."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from hornbook.config.table import Table


class ServeConfig(Table):
    """Where the server listens, what it holds, and how much it takes on. An API key is no setting: --api-key, or the
    environment variable HORNBOOK_API_KEY."""

    models: tuple[str, ...] = ()
    """NAME=PATH for each model, PATH being a run or checkpoint directory. Without NAME= it is the run's."""
    host: str = "127.0.0.1"
    """The address to listen on; anything but this machine's own opens the server to others."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """0 is any that is free."""
    slots: PositiveInt = 16
    """Texts of one model that are decoded together; memory for the KV cache grows with it."""
    context_length: PositiveInt | None = None
    """The longest text, prompt and answer together, of an autoregressive model. Default: its context."""
    queue: NonNegativeInt = 64
    """Texts of one model that may wait for a slot; beyond that requests are answered with 429."""
    timeout_seconds: PositiveFloat = 600.0
    """A request that takes longer is ended."""
    drain_seconds: PositiveInt = 30
    """When the server is told to stop, so long requests that run may go on."""
    max_body_bytes: PositiveInt = 4_194_304
    """The longest body of a request."""
    max_prompt_tokens: PositiveInt | None = None
    """The longest prompt. Default: what the model's context holds."""
    max_choices: PositiveInt = 16
    """Texts that one request may ask for: prompts times n."""
    runs: Path | None = None
    """The folder whose runs the page shows. Default: run.out_dir."""
    access_log: bool = True
    """One event for each request."""
