"""What `hornbook generate` shows and tells of denoising steps, and which of its arguments need a diffusion decoder."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hornbook.cli.from_checkpoint import OpenedModel
    from hornbook.config.run import Config
    from hornbook.generation.denoising import DenoiseStep
    from hornbook.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Watcher:
    """Whoever hears of the steps of one text, if anybody does."""

    on_step: Callable[[DenoiseStep], None] | None = None
    steps: list[DenoiseStep] = field(default_factory=list)
    """Kept for a JSON object."""

    def told(self) -> dict[str, object]:
        """What a JSON object says of them: `denoising`, a list of steps, if they were kept."""
        if not self.steps:
            return {}
        names = ("step", "positions", "tokens", "confidences")
        return {"denoising": [{name: getattr(step, name) for name in names} for step in self.steps]}


@contextlib.contextmanager
def watched(tokenizer: Tokenizer, *, shows: bool, for_people: bool) -> Iterator[Watcher]:
    """Inside, the steps of a text are shown in the terminal or kept for its JSON object, if `shows`."""
    if not shows:
        yield Watcher()
    elif for_people:
        from hornbook.generation.animation import DenoisingAnimation

        with DenoisingAnimation(tokenizer) as animation:
            yield Watcher(on_step=animation)
    else:
        steps: list[DenoiseStep] = []
        yield Watcher(on_step=steps.append, steps=steps)


def check_denoising(args: argparse.Namespace, config: Config, opened: OpenedModel) -> None:
    """Refuse arguments that have no effect with the decoder or with one another.

    Raises:
        GenerationError: naming them.
    """
    from hornbook.errors import GenerationError
    from hornbook.generation.choice import decoder_name

    asked = [flag for flag in ("show_denoising", "compare_cache", "infill") if getattr(args, flag)]
    if asked and decoder_name(config.generate, opened.objective) != "diffusion":
        raise GenerationError(
            f"--{asked[0].replace('_', '-')} needs a diffusion decoder, and {opened.path} was trained with "
            f'objective.kind = "{opened.objective.get("kind")}"; a model of kind "masked_diffusion" has one, and '
            'one of kind "joint" with --decoder diffusion'
        )
    if args.compare_cache and len(asked) > 1:
        raise GenerationError(
            f"--compare-cache tells of the whole, not of --{asked[0].replace('_', '-')}; leave it out"
        )
    useless = [name for name in ("max_new_tokens", "stop") if args.infill and getattr(args, name) is not None]
    if useless:
        raise GenerationError(
            f"--{useless[0].replace('_', '-')} has no effect with --infill, whose holes say how long they are; "
            "leave it out"
        )
