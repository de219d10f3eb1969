"""Ours: greedy decoding by the engine, on the backend that `generate.backend = "auto"` opens."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hornbook.config.generate import GenerateConfig
from hornbook.generation.engine import Engine, Request
from hornbook.generation.open_backend import open_backend
from hornbook.interop.hf import load_hf_directory

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "int8": "int8"}

Rows = list[list[int]]


def setup(settings: dict[str, Any]) -> tuple[Callable[[], Rows], Callable[[Rows], dict[str, Any]]]:
    """As many slots as rows; each block has an engine of its own, which knows of no prompt that was read before."""
    model, _ = load_hf_directory(Path(settings["model"]))
    prompts, n_new = settings["prompts"], settings["new_tokens"]
    config = GenerateConfig(temperature=0.0, precision=PRECISIONS[settings["precision"]])  # type: ignore[arg-type]
    notes: list[str] = []
    backend = open_backend(
        model.eval(), slots=len(prompts), max_length=len(prompts[0]) + n_new, config=config, note=notes.append
    )

    def block() -> Rows:
        engine = Engine(backend)
        rows: dict[int, list[int]] = {}
        for prompt in prompts:
            request = Request(tokens=prompt, max_new_tokens=n_new, stop_ids=frozenset(), sampling=config, seed=0)
            rows[engine.submit(request)] = []
        while engine.busy:
            for drawn in engine.step():
                rows[drawn.ticket].append(drawn.token)
        return list(rows.values())

    said = "; ".join([f"{backend.name}, {backend.precision}", *notes])
    return block, lambda rows: {"tokens": hashlib.sha256(repr(rows).encode()).hexdigest(), "said": said}
