"""`hornbook bench decode`: greedy decoding with transformers and llama.cpp; with --diffusion the filling of masks."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli import bench_perplexity
from hornbook.cli.configuration import positive
from hornbook.errors import HornbookError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hornbook.benchmarks.denoising import Request, Trained
    from hornbook.benchmarks.harness import Case

DIFFUSION_FLAGS = ("checkpoint", "threshold", "prompt_tokens", "block_length", "cache")
"""Have an effect with --diffusion alone."""
THRESHOLD = 0.9


def add_decode_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook bench decode` takes."""
    parser.add_argument(
        "--diffusion", action="store_true", help="a diffusion decoder with the plain full-sequence loop"
    )
    parser.add_argument("--size", metavar="N,N", help="default 25M,124M parameters; not with --diffusion")
    parser.add_argument("--precision", metavar="P,P", help="default fp32,bf16,int8; with --diffusion fp32,bf16")
    cases = "prefill, decode, batch; with --diffusion same-steps, four-a-step, exact-cache, threshold"
    parser.add_argument("--only", metavar="CASE,CASE", help=cases)
    parser.add_argument("--quick", action="store_true", help="a tiny shape: whether everything runs, and no floors")
    of = parser.add_argument_group("with --diffusion")
    of.add_argument("--checkpoint", type=Path, metavar="RUN", help="a trained diffusion model, for the threshold")
    of.add_argument("--threshold", type=float, metavar="P", help=f"confidence to keep a token (default {THRESHOLD})")
    of.add_argument("--prompt-tokens", type=positive, metavar="N", help="default 128")
    of.add_argument("--block-length", type=positive, metavar="N", help="default 32; divides the 256 new tokens")
    of.add_argument("--cache", choices=("prefix", "dual", "delayed"), help="where it may approximate (default delayed)")
    bench_perplexity.add_perplexity_arguments(parser)


def run(args: argparse.Namespace, measure: Callable[[argparse.Namespace, Iterable[Case]], int]) -> int:
    """Let `measure` carry out the cases; its status."""
    bench_perplexity.check(args)
    if args.diffusion:
        if args.size:
            raise HornbookError("bench decode: --size has no effect with --diffusion; leave one of them out")
        return measure(args, _diffusion_cases(args))
    if given := [name for name in DIFFUSION_FLAGS if getattr(args, name)]:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise HornbookError(f"bench decode: {flags} has an effect only with --diffusion; add that, or leave it out")
    if args.quick and args.size:
        raise HornbookError("bench decode: --size has no effect with --quick; leave one of them out")
    from hornbook.benchmarks.decoding import KINDS, QUICK, SHAPES, decode_cases
    from hornbook.benchmarks.peers import peer_python

    sizes = names_of("--size", args.size, tuple(SHAPES))
    shapes = {"quick": QUICK} if args.quick else {name: SHAPES[name] for name in sizes}
    kinds = names_of("--only", args.only, KINDS)
    precisions = precisions_of(args)
    if peer_python("xllamacpp") is None:
        _say("not installed, so left out: llama.cpp; to have it: hornbook bench peers xllamacpp")
    with tempfile.TemporaryDirectory() as directory:
        return measure(args, decode_cases(shapes, Path(directory), kinds=kinds, precisions=precisions))


def _diffusion_cases(args: argparse.Namespace) -> Iterable[Case]:
    from hornbook.benchmarks.denoising import KINDS, denoise_cases

    precisions = precisions_of(args)
    kinds = names_of("--only", args.only, KINDS)
    if args.threshold is not None and args.checkpoint is None:
        raise HornbookError("--threshold has an effect only with --checkpoint RUN: random weights are sure of nothing")
    if args.threshold is not None and not 0.0 < args.threshold <= 1.0:
        raise HornbookError(
            f"--threshold {args.threshold:g}: expected a probability above 0 and at most 1, such as 0.9"
        )
    if args.checkpoint is None and "threshold" in kinds:
        if args.only:
            raise HornbookError(
                "--only threshold: expected --checkpoint RUN with it: random weights are sure of nothing"
            )
        _say("no --checkpoint RUN, so the case `threshold` is left out: random weights are sure of nothing")
    request = _request(args)
    trained = None if args.checkpoint is None else _trained(args, request)
    return denoise_cases(request, precisions=precisions, kinds=kinds, trained=trained, has_floors=not args.quick)


def precisions_of(args: argparse.Namespace) -> tuple[str, ...]:
    """Those that --precision names, or all that the decoder is timed in.

    Raises:
        HornbookError: if one is unknown.
    """
    from hornbook.benchmarks import decoding, denoising

    return names_of("--precision", args.precision, (denoising if args.diffusion else decoding).PRECISIONS)


def names_of(flag: str, given: str | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """The names that a flag gives, with commas between them; all of them without.

    Raises:
        HornbookError: if one is unknown.
    """
    names = known if given is None else tuple(given.split(","))
    if unknown := sorted(set(names) - set(known)):
        raise HornbookError(f"{flag} {given}: {', '.join(unknown)} is none of {', '.join(known)}")
    return names


def _request(args: argparse.Namespace) -> Request:
    from dataclasses import replace

    from hornbook.benchmarks.denoising import QUICK, REQUEST

    request = QUICK if args.quick else REQUEST
    names = ("prompt_tokens", "block_length", "cache")
    request = replace(request, **{name: given for name in names if (given := getattr(args, name))})
    _check_blocks(request, request.block_length, "--block-length")
    _check_context(request, request.table.context_length, "the model's")
    return request


def _check_blocks(request: Request, block_length: int, where: str) -> None:
    """Blocks begin where the prompt ends, also those of a block diffusion model, which count from the text's start."""
    if request.new_tokens % block_length or block_length % 4:
        raise HornbookError(
            f"{where} {block_length}: expected a multiple of 4 that divides {request.new_tokens}, such as 32"
        )
    if request.prompt_tokens % block_length:
        raise HornbookError(
            f"--prompt-tokens {request.prompt_tokens}: expected a multiple of the block length, {block_length}"
        )


def _check_context(request: Request, context: int, whose: str) -> None:
    room = context - request.new_tokens
    if request.prompt_tokens > room:
        raise HornbookError(
            f"--prompt-tokens {request.prompt_tokens} and {request.new_tokens} new ones exceed {whose} context_length "
            f"= {context}; " + (f"choose at most --prompt-tokens {room}" if room > 0 else "it needs a longer context")
        )


def _trained(args: argparse.Namespace, request: Request) -> Trained:
    """The checkpoint, with prompts out of the validation split that its run held out."""
    from hornbook.benchmarks.denoising import TRAINED_PROMPTS, Trained
    from hornbook.checkpoint.load import load_checkpoint
    from hornbook.cli.from_checkpoint import find_checkpoint, find_run
    from hornbook.config.load import load_config
    from hornbook.evaluation.noised_scorer import check_measure
    from hornbook.evaluation.streams import open_stream
    from hornbook.generation.choice import causal_block_length

    path = find_checkpoint(args.checkpoint, table="generate", best=False)
    checkpoint = load_checkpoint(path, with_optimizer=False)
    check_measure("bound", checkpoint.objective)
    run = find_run(path)
    if checkpoint.tokenizer is None or run is None:
        raise HornbookError(
            f"--checkpoint {path}: expected one of a run with its tokenizer, for prompts of its own data"
        )
    _check_context(request, checkpoint.model_config.context_length, f"{path}: its")
    length = causal_block_length(checkpoint.objective)
    if length is not None:
        _check_blocks(request, length, f"{path}: objective.block_length")
    stream, _ = open_stream(load_config(run.config_file).config, checkpoint.tokenizer)
    starts = [
        number * (stream.n_tokens - request.prompt_tokens) // TRAINED_PROMPTS for number in range(TRAINED_PROMPTS)
    ]
    return Trained(
        checkpoint=path,
        prompts=[stream.read(start, request.prompt_tokens).tolist() for start in starts],
        block_length=length,
        threshold=THRESHOLD if args.threshold is None else args.threshold,
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
