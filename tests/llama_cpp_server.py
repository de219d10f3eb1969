"""llama.cpp itself, in this process, by its own HTTP server: what it makes of a file, with exact keys and values."""

import json
import urllib.request
from pathlib import Path

import pytest


class LlamaCpp:
    """One model, on one thread, its cache in float32 as ours is."""

    def __init__(self, path: Path, *, context: int = 64) -> None:
        xllamacpp = pytest.importorskip("xllamacpp")
        settings = xllamacpp.CommonParams()
        settings.model.path = str(path)
        settings.n_ctx, settings.n_parallel, settings.verbosity = context, 1, -1
        settings.warmup = settings.fit_params = settings.cache_prompt = False
        settings.cache_ram_mib = 0
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
        settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._server = xllamacpp.Server(settings)

    def ids(self, text: str, *, special: bool = False) -> list[int]:
        """The ids of a text; `special`: names of control tokens count in it."""
        return self._post("/tokenize", content=text, parse_special=special)["tokens"]

    def chat(self, messages: list[dict[str, str]]) -> str:
        """A conversation through its chat template."""
        return self._post("/apply-template", messages=messages)["prompt"]

    def greedy(self, prompt: str | list[int], n_new: int) -> tuple[list[int], str]:
        """The likeliest ids that follow, up to one that ends a text, and their text."""
        asked = {"n_predict": n_new, "temperature": 0, "return_tokens": True, "cache_prompt": False}
        answer = self._post("/completion", prompt=prompt, **asked)
        return answer["tokens"], answer["content"]

    def first_logprobs(self, prompt: list[int], n: int) -> dict[int, float]:
        """The natural log-probabilities of the n likeliest next ids."""
        asked = {"n_predict": 1, "temperature": 0, "n_probs": n, "cache_prompt": False, "ignore_eos": False}
        (first,) = self._post("/completion", prompt=prompt, **asked)["completion_probabilities"]
        return {each["id"]: each["logprob"] for each in first["top_logprobs"]}

    def _post(self, where: str, **body: object) -> dict:
        request = urllib.request.Request(
            self._server.listening_address + where, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)
