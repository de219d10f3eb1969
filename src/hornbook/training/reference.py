"""The model that a policy is compared with: where it comes from, and that it stays what it was when the run began.

    copy          a checkpoint, in memory beside the policy; loaded again whenever the run goes on
    precomputed   what a checkpoint says of every pair, asked once (training/reference_scores.py)
    adapter       the policy without its LoRA adapters

RUN/reference/reference.json remembers which weights they were. Vocabularies grow alike: policy and reference are built
from their checkpoints by one function and one seed.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from hornbook.checkpoint.load import load_checkpoint, start_from
from hornbook.checkpoint.manifest import MODEL_FILE, read_manifest
from hornbook.config.objective import PreferenceConfig
from hornbook.config.run import Config
from hornbook.errors import CheckpointError, ConfigError
from hornbook.models.block import Block
from hornbook.models.transformer import Transformer
from hornbook.objectives.reference import Reference, frozen, without_adapters
from hornbook.storage.digest import bytes_sha256
from hornbook.storage.run_dir import resolve_checkpoint

IDENTITY_FILE = "reference.json"
ReferenceKind = Literal["copy", "precomputed", "adapter"]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Which weights a reference has."""

    checkpoint: str
    """Where they lay when the run began."""
    step: int
    sha256: str
    """Of the digests of the files that hold them."""

    @classmethod
    def of(cls, path: Path) -> Self:
        """That of the checkpoint that `path` means; only its manifest is read.

        Raises:
            CheckpointError: if there is none.
        """
        directory = resolve_checkpoint(path)
        manifest = read_manifest(directory)
        digests = {name: manifest.files[name].sha256 for name in manifest.shards or [MODEL_FILE]}
        content = json.dumps(digests, sort_keys=True).encode()
        return cls(checkpoint=str(directory.absolute()), step=manifest.step, sha256=bytes_sha256(content))

    @classmethod
    def read(cls, file: Path) -> Self | None:
        """What stands in a run's file; None where there is none.

        Raises:
            CheckpointError: if it cannot be read.
        """
        if not file.is_file():
            return None
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            return cls(**{name: content[name] for name in ("checkpoint", "step", "sha256")})
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{file}: damaged ({error}); it says which reference the run has. Start a new run"
            ) from None

    def check_same(self, now: "Identity") -> None:
        """Refuse to go on with another reference.

        Raises:
            CheckpointError: naming both.
        """
        if now.sha256 != self.sha256:
            raise CheckpointError(
                f"the reference has other weights than when the run began: then {self.checkpoint} (step {self.step}), "
                f"now {now.checkpoint} (step {now.step}). Rewards would no longer be comparable; name the former one "
                "with objective.reference_from, or start a new run"
            )


def kind_of(config: Config) -> ReferenceKind | None:
    """How the run's reference is had; None of an objective without one."""
    objective = config.objective
    if not isinstance(objective, PreferenceConfig):
        return None
    if objective.reference is not None:
        return objective.reference
    keeps_base = config.lora is not None and not config.lora.also_train
    return "adapter" if keeps_base and objective.reference_from is None else "copy"


def path_of(config: Config) -> Path:
    """The checkpoint, or run, that the reference is read from.

    Raises:
        ConfigError: if none is named.
    """
    assert isinstance(config.objective, PreferenceConfig)
    path = config.objective.reference_from or config.model.init_from
    if path is None:
        raise ConfigError(
            'objective.kind = "preference" tunes a model that has learnt, and compares it with what it was: set '
            "model.init_from to a checkpoint"
        )
    return path


def identity_of(config: Config) -> Identity:
    """Which weights the reference has now.

    Raises:
        CheckpointError: if they are gone.
    """
    try:
        return Identity.of(path_of(config))
    except CheckpointError as error:
        raise _gone(config, error) from None


def build_reference(config: Config, policy: Transformer, *, tokens: int | None = None) -> Reference | None:
    """What the objective asks for scores; None where batches hold them, or there is nothing to compare with.

    tokens: the ids that the policy's tokenizer has. Default: as many as it has rows.

    Raises:
        ConfigError: if no checkpoint is named.
        CheckpointError: if it is gone, or of another kind of model.
    """
    match kind_of(config):
        case "precomputed":
            path_of(config)  # better missed now than when the run has begun
            return None
        case "copy":
            return frozen(load_reference(config, policy, tokens=tokens))
        case "adapter":
            return without_adapters
        case _:
            return None


def load_reference(config: Config, policy: Transformer, *, tokens: int | None = None) -> Transformer:
    """The reference as a model that computes as the policy does, in its format and on its device.

    Raises:
        CheckpointError: as `build_reference`.
    """
    try:
        checkpoint = load_checkpoint(path_of(config), with_optimizer=False)
    except CheckpointError as error:
        raise _gone(config, error) from None
    check_likelihood(config, checkpoint.objective, checkpoint.path)
    model = Transformer(policy.config, seed=config.run.seed)
    start_from(model, checkpoint, tokens=tokens)
    for ours, theirs in zip(model.layers, policy.layers, strict=True):
        assert isinstance(ours, Block)
        assert isinstance(theirs, Block)
        ours.attention.plain_max_keys = theirs.attention.plain_max_keys
    first = next(policy.parameters())
    return model.to(device=first.device, dtype=first.dtype).eval().requires_grad_(False)


def check_likelihood(config: Config, objective: dict[str, object], where: Path) -> None:
    """Refuse to score answers by a likelihood that a checkpoint's model was not trained for.

    Raises:
        CheckpointError: naming one that it was.
    """
    if not isinstance(config.objective, PreferenceConfig):
        return
    asked, kind = config.objective.likelihood, objective.get("kind")
    if kind in (asked, "joint"):
        return
    fitting = f'; use "{kind}"' if kind in ("next_token", "masked_diffusion") else ""
    raise CheckpointError(
        f'objective.likelihood = "{asked}", but {where} was trained with objective.kind = "{kind}"{fitting}'
    )


def _gone(config: Config, error: CheckpointError) -> CheckpointError:
    return CheckpointError(
        f"the reference that preferences are compared with cannot be read: {error}. If it lies elsewhere now, say "
        f"where: --set 'objective.reference_from=\"...\"' (now {path_of(config)}); it must be the same weights"
    )
