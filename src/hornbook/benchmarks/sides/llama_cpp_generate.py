"""llama.cpp through xllamacpp: greedy decoding by its server, a request a row; asking takes it about a millisecond."""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import Request, urlopen

import xllamacpp

ASKED = {"temperature": 0.0, "ignore_eos": True, "cache_prompt": False, "return_tokens": True}
HEADERS = {"content-type": "application/json"}
Rows = list[list[int]]


def setup(settings: dict[str, Any]) -> tuple[Callable[[], Rows], Callable[[Rows], dict[str, Any]]]:
    """As many slots as rows, each prompt read anew in every block."""
    prompts, n_new = settings["prompts"], settings["new_tokens"]
    params = xllamacpp.CommonParams()
    params.model.path = settings["gguf"]
    params.n_parallel = len(prompts)
    params.n_ctx = len(prompts) * (len(prompts[0]) + n_new + 8)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    params.cache_ram_mib = 0
    params.fit_params = False
    params.verbosity = -1
    if settings["precision"] == "fp32":
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    server = xllamacpp.Server(params)
    pool = ThreadPoolExecutor(len(prompts))

    def row(prompt: list[int]) -> list[int]:
        body = {**ASKED, "prompt": prompt, "n_predict": n_new}
        request = Request(server.listening_address + "/completion", json.dumps(body).encode(), HEADERS)
        with urlopen(request) as answer:  # an answer that is no success raises
            tokens: list[int] = json.load(answer)["tokens"]
        return tokens

    return (lambda: list(pool.map(row, prompts))), (
        lambda rows: {"tokens": hashlib.sha256(repr(rows).encode()).hexdigest()}
    )
