"""Published tokenizers by name: OpenAI's encodings, and any repository of the Hugging Face hub with a tokenizer.json.

What tiktoken or huggingface_hub fetched before is taken from their caches; otherwise it is downloaded. OpenAI's files
are known by their digests, so a damaged one is never read.
"""

import hashlib
import logging
import os
import re
import tempfile
import urllib.request
from pathlib import Path
from typing import NamedTuple

from hornbook.config.tokenizer import END_OF_TEXT
from hornbook.errors import MissingExtraError, TokenizerError
from hornbook.tokenizer.files import HUGGING_FACE
from hornbook.tokenizer.tiktoken_ranks import ENCODINGS
from hornbook.tokenizer.tokenizer import Tokenizer

_SECONDS = 10.0
"""How long to wait for an answer."""


class _Published(NamedTuple):
    url: str
    sha256: str


_FILES = "https://openaipublic.blob.core.windows.net"
# Source: https://github.com/openai/tiktoken/blob/main/tiktoken_ext/openai_public.py
_RANKS = {
    name: _Published(f"{_FILES}/encodings/{name}.tiktoken", sha256)
    for name, sha256 in {
        "r50k_base": "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
        "p50k_base": "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
        "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    }.items()
}
_GPT2 = "openai-community/gpt2"
_GPT2_VOCAB = _Published(
    f"{_FILES}/gpt-2/encodings/main/encoder.json", "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"
)
_GPT2_MERGES = _Published(
    f"{_FILES}/gpt-2/encodings/main/vocab.bpe", "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
)

NAMES = ("gpt2", *ENCODINGS)
"""Tokenizers that are known by a short name."""


def is_published(name: str) -> bool:
    """Whether this is one of NAMES, or can be a repository, "owner/name"."""
    return name in NAMES or re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) is not None


def load_published(name: str) -> Tokenizer:
    """The tokenizer of a name that `is_published`.

    Raises:
        TokenizerError: if it cannot be had, saying what was tried and what to fetch by hand, or is not supported.
        MissingExtraError: if the hub is to be asked and the package for that is not installed.
    """
    if name in _RANKS:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / f"{name}.tiktoken"
            path.write_bytes(_cached(_RANKS[name]) or _downloaded(name, _RANKS[name]))
            return Tokenizer.from_tiktoken(path)
    if name == "gpt2":
        vocab, merges = _cached(_GPT2_VOCAB), _cached(_GPT2_MERGES)
        if vocab and merges:
            with tempfile.TemporaryDirectory() as directory:
                (Path(directory) / "vocab.json").write_bytes(vocab)
                (Path(directory) / "merges.txt").write_bytes(merges)
                return Tokenizer.load(directory)
        return Tokenizer.load(_from_hub(_GPT2))
    return Tokenizer.load(_from_hub(name))


def _cache() -> Path:
    """Where tiktoken keeps what it fetched."""
    named = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    return Path(named) if named else Path(tempfile.gettempdir()) / "data-gym-cache"


def _cached(published: _Published) -> bytes | None:
    try:
        data = (_cache() / hashlib.sha1(published.url.encode(), usedforsecurity=False).hexdigest()).read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == published.sha256 else None


def _downloaded(name: str, published: _Published) -> bytes:
    by_hand = (
        f"fetch that file on another machine and pass it: hornbook tokenizer import {name}.tiktoken OUT "
        "(or put tiktoken's cache here and name it in TIKTOKEN_CACHE_DIR)"
    )
    try:
        with urllib.request.urlopen(published.url, timeout=_SECONDS) as response:
            data: bytes = response.read()
    except OSError as error:  # a network's own errors are among them
        raise TokenizerError(
            f"{name}: not in tiktoken's cache ({_cache()}), and {published.url} cannot be read ({error}). "
            f"Offline? Then {by_hand}"
        ) from error
    if hashlib.sha256(data).hexdigest() != published.sha256:
        raise TokenizerError(
            f"{name}: what {published.url} gave is damaged (its SHA-256 is wrong); try again, or {by_hand}"
        )
    return data


def _from_hub(repository: str) -> Path:
    """A repository's tokenizer.json, from the hub's cache on this machine or from the hub."""
    try:
        import huggingface_hub
    except ImportError:
        raise MissingExtraError("a tokenizer of the Hugging Face hub", package="huggingface_hub", extra="hf") from None
    cached = huggingface_hub.try_to_load_from_cache(repository, HUGGING_FACE)
    if isinstance(cached, str):
        return Path(cached)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries end in the error that we explain
    try:
        # An unreachable hub is told at once by the first, and by the second after half a minute of trying again.
        huggingface_hub.HfApi().model_info(repository, timeout=_SECONDS)
        return Path(huggingface_hub.hf_hub_download(repository, HUGGING_FACE))
    except Exception as error:
        # What the library and those beneath it raise for an unknown name, a private repository, a missing file, a
        # proxy or a time-out is of no one family.
        cause = " ".join(str(error).split())[:300] or type(error).__name__
        raise TokenizerError(f"{repository}: {_unreadable(repository, cause)}") from error


def _unreadable(repository: str, cause: str) -> str:
    said = f"its {HUGGING_FACE} is not in the cache of huggingface_hub and cannot be read from the hub ({cause}). "
    if repository == _GPT2:
        return (
            f"{said}Offline? Then fetch its vocab.json and merges.txt on another machine and pass them: "
            f"hornbook tokenizer import vocab.json OUT --merges merges.txt --special '{END_OF_TEXT}'; "
            "r50k_base.tiktoken holds the same vocabulary"
        )
    return (
        f"{said}Check the name and whether you may read it. Offline? Then fetch that file on another machine and pass "
        f"it: hornbook tokenizer import {HUGGING_FACE} OUT"
    )
