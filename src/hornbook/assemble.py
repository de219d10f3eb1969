"""The composition root: a configuration becomes objects, and the objects become a run. Only here do kinds have classes.

    [tokenizer] [data] -> data set -> windows -> batches      [objective] -> objective
    [model] -> Transformer -> [optim] [schedule] -> optimizer      [tracking] [checkpoint] -> hooks -> Trainer

Nothing below this file reads a configuration file, and nothing above it builds a model.
"""

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch

from hornbook.checkpoint.load import Checkpoint, load_checkpoint
from hornbook.config.dump import config_hash, to_json, to_toml
from hornbook.config.run import Config
from hornbook.data.batch import TokenBatch
from hornbook.data.dataset import Dataset
from hornbook.data.loader import RowOrigin, WindowBatches, fixed_batches
from hornbook.data.order import SampleOrder
from hornbook.data.windows import Windows
from hornbook.distributed.device import explained_nondeterminism, ready_device
from hornbook.distributed.precision import DTYPES, fp32_products
from hornbook.errors import ConfigError, TrainingError
from hornbook.models.accounting import training_flops_per_token
from hornbook.models.attention_kernels import check_kernel, only_kernel
from hornbook.models.transformer import Transformer
from hornbook.optim.averaging import show_averages
from hornbook.optim.schedules import multiplier
from hornbook.profiling.probe import peak_flops
from hornbook.storage.atomic import replace_file
from hornbook.storage.disk import StorageError
from hornbook.storage.lock import alone
from hornbook.storage.provenance import provenance
from hornbook.storage.run_dir import RunDir, RunState
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tracking.open import open_tracker
from hornbook.tracking.tracker import RunInfo, Tracker
from hornbook.training.branches import find_branch_point, trunk_choices
from hornbook.training.choices import Choices
from hornbook.training.choosing import choose
from hornbook.training.compiled import compile_updates, remember
from hornbook.training.hooks import Hook, Log, Sample, SaveCheckpoint, Validate
from hornbook.training.norms import Norms, NormWatch
from hornbook.training.out_of_memory import rows_at
from hornbook.training.resume import changed_rate, find_checkpoint, find_run, settings_of
from hornbook.training.saving import Artifacts, Sampler, Saver, restore
from hornbook.training.skip_record import RecordSkipped
from hornbook.training.start import build_learner, build_model, shape_of, tokenizer_of
from hornbook.training.state import TrainState
from hornbook.training.trainer import OnRetreat, Trainer, TrainResult, no_retreat
from hornbook.training.validation import Validation


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """What a call of `train` leaves."""

    run_dir: RunDir
    result: TrainResult
    model: Transformer
    tokenizer: Tokenizer


def train(config: Config, *, resume: bool | Path = False) -> TrainedRun:
    """Train as the configuration says, in a run directory of its own, or go on with a run.

    `resume` as a path names the run, or one of its full checkpoints; as True it is the newest run of the same
    configuration, or a new one if there is none, so that a job script may always say it.

    Raises:
        HornbookError: whatever keeps the run from starting or going on; the run's state is then `failed`.
    """
    if config.sweep is not None:
        raise ConfigError("[sweep] says that there are many runs: hornbook sweep run FILE, or one with --index K")
    run_dir = find_run(config, resume) if resume else None
    before = None if run_dir is None else settings_of(run_dir, config)
    dataset = Dataset.open(config.data.path)
    checkpoint = None if run_dir is None else find_checkpoint(run_dir, resume, data_digest=dataset.digest)
    kept = Choices.read(run_dir.choices_file) if run_dir is not None and checkpoint is not None else None
    job, state = build_job(config, dataset, checkpoint, kept)
    if before is not None and checkpoint is not None:
        job.remarks = [*job.remarks, *changed_rate(before, config, updates=state.updates)]
    if run_dir is None:
        by_time = f"{datetime.now():%Y-%m-%d-%H%M%S}-{config_hash(config)}"
        run_dir = RunDir.create(config.run.out_dir, config.run.name or by_time)
    return job.run(run_dir, state, resumed=checkpoint is not None)


def build_job(
    config: Config, dataset: Dataset, checkpoint: Checkpoint | None, kept: Choices | None
) -> tuple["Job", TrainState]:
    """The objects of a run that goes on from its `checkpoint` with the choices `kept`, or else starts or branches.

    Nothing is written.

    Raises:
        HornbookError: whatever keeps the run from starting or going on.
    """
    device = ready_device(config.run)
    resumed = checkpoint is not None
    # What a resumed run started from lies in its own checkpoint; the original may be gone by now.
    if checkpoint is None:
        checkpoint, kept = find_branch_point(config, data_digest=dataset.digest), trunk_choices(config)
    init_from = config.model.init_from if checkpoint is None else None
    start = None if init_from is None else load_checkpoint(init_from, with_optimizer=False)
    tokenizer = tokenizer_of(config, dataset, start or checkpoint)
    shape = shape_of(config, tokenizer)
    check_kernel(config.model.attention_backend, shape, device, DTYPES[config.train.precision])
    steps_left = config.train.steps - (0 if checkpoint is None else checkpoint.step)
    choices, remarks = choose(config, shape, device, kept=kept, steps_left=steps_left)
    torch.set_num_threads(choices.threads)
    model = build_model(config, shape, choices, start).to(device)
    job = Job(config, dataset, tokenizer, model, choices, remarks)
    state = TrainState() if checkpoint is None else restore(job.learner, checkpoint)
    return job, state if resumed else state.branched()


class Job:
    """The objects of one run, built once and in the order in which they need one another."""

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        tokenizer: Tokenizer,
        model: Transformer,
        choices: Choices,
        remarks: Sequence[str],
    ) -> None:
        self.config = config
        self.choices = choices
        self.remarks = remarks
        self.data_digest = dataset.digest
        self.tokenizer = tokenizer
        self.model = model
        byte_lengths = torch.from_numpy(tokenizer.byte_lengths())
        self.learner = build_learner(config, model, mask_id=tokenizer.mask_id, byte_lengths=byte_lengths)
        self.strategy = self.learner.strategy
        if choices.compile:
            compile_updates(self.learner.optimizer)
        length = config.model.context_length
        self.samples_per_step = config.train.tokens_per_step // length
        cut = functools.partial(Windows, context_length=length, lookahead=self.learner.objective.lookahead)
        windows = cut(dataset.split("train"), stride=config.data.stride or length)
        self.batches = WindowBatches(
            windows,
            SampleOrder(len(windows), seed=config.run.seed, shuffled=config.data.order == "shuffled"),
            samples_per_step=self.samples_per_step,
            micro_batch_size=choices.micro_batch_size,
            rank=self.strategy.rank,
            world_size=self.strategy.world_size,
        )
        self.held_out: list[TokenBatch] = []
        if config.train.eval_every:
            self.held_out = fixed_batches(
                cut(dataset.split("valid"), stride=length),
                n_windows=max(1, config.train.eval_tokens // length),
                batch_size=choices.eval_batch_size,
            )
        self.sampler: Sampler | None = None
        if config.train.sample_every:
            objective = config.objective.model_dump(mode="json")
            prompts = config.train.sample_prompts
            self.sampler = Sampler(self.learner, tokenizer, prompts, config.generate, objective)

    def run(self, run_dir: RunDir, state: TrainState, *, resumed: bool) -> TrainedRun:
        """Everything that happens inside the run directory; whatever ends it early leaves the run `failed`."""
        status: RunState = "failed"

        def last_word(say: Callable[[RunState], None]) -> None:
            # What ended the run is what the user must hear of, not that a full disk refuses this too.
            with contextlib.suppress(*([StorageError] if status == "failed" else [])):
                say(status)

        busy = TrainingError(f"{run_dir.root}: another process is training this run; wait for it, or stop it")
        with contextlib.ExitStack() as at_end:
            at_end.enter_context(alone(run_dir.root, otherwise=busy))
            at_end.callback(last_word, run_dir.set_state)
            at_end.enter_context(self.computing())
            self.choices.write(run_dir.choices_file)
            self._describe(run_dir, resumed=resumed)
            tracker = open_tracker(self.config.tracking, run_dir)
            tracker.start(self._info(run_dir, state, resumed=resumed))
            at_end.callback(last_word, tracker.finish)
            run_dir.set_state("running")
            retreat = functools.partial(self._retreat, run_dir, tracker)
            with explained_nondeterminism():
                result = self.trainer(state, self._hooks(run_dir, tracker), retreat).run()
            if self.choices.compile:
                remember(self.model.config, self.choices.micro_batch_size, self.config.train.precision)
            status = "preempted" if result.stop_reason == "preempted" else "finished"
        show_averages(self.learner.optimizer)
        return TrainedRun(run_dir=run_dir, result=result, model=self.model, tokenizer=self.tokenizer)

    def _describe(self, run_dir: RunDir, *, resumed: bool) -> None:
        """The configuration, and where the run came from; a run that goes on keeps its origin."""
        known = config_hash(self.config)
        replace_file(run_dir.config_file, to_toml(self.config))
        device = str(self.learner.precision.device)
        origin = run_dir.provenance() if resumed else provenance(config_hash=known, devices=[device])
        subject = {"architecture": self.config.model.architecture, "dataset": str(self.config.data.path)}
        run_dir.write_provenance({**origin, "config_hash": known, "data_digest": self.data_digest, **subject})

    def _info(self, run_dir: RunDir, state: TrainState, *, resumed: bool) -> RunInfo:
        config = self.config
        return RunInfo(
            name=run_dir.root.name,
            config=json.loads(to_json(config)),
            tags=config.run.tags,
            notes=config.run.notes,
            first_step=state.step,
            total_steps=config.train.steps,
            resumed=resumed,
            details={
                "run_dir": str(run_dir.root),
                "device": str(self.learner.precision.device),
                "n_parameters": self.model.n_parameters,
                "architecture": config.model.architecture,
                "dataset": str(config.data.path),
                "choices": self.choices.line(),
                **({"warning": "; ".join(self.remarks)} if self.remarks else {}),
            },
        )

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Products and attention are computed as was chosen."""
        products = fp32_products(self.choices.fp32_products, self.learner.precision.device)
        with products, only_kernel(self.config.model.attention_backend):
            yield

    def _retreat(self, run_dir: RunDir, tracker: Tracker, step: int, line: str, changes: Mapping[str, object]) -> None:
        """A choice did not hold: store the new one and say so."""
        self.choices = self.choices.replaced(
            **changes, reasons={**self.choices.reasons, **dict.fromkeys(changes, line)}
        )
        self.choices.write(run_dir.choices_file)
        tracker.log("notice", step, {"notice/text": line})

    def trainer(self, state: TrainState, hooks: Sequence[Hook], on_retreat: OnRetreat = no_retreat) -> Trainer:
        """The loop from `state` on; `on_retreat` hears of choices that did not hold."""
        config = self.config
        total, d_model = config.train.steps, config.model.d_model
        return Trainer(
            self.learner,
            schedule=lambda update: multiplier(config.schedule, update, total, d_model),
            batches=self.batches,
            hooks=hooks,
            state=state,
            config=config.train,
            samples_per_step=self.samples_per_step,
            seed=config.run.seed,
            loader_threads=config.data.loader_threads,
            prefetch=config.data.prefetch,
            shrunk=self.choices.shrunk,
            on_retreat=on_retreat,
        )

    def _origins(self, step: int) -> list[RowOrigin]:
        return self.batches.rows(step, most=rows_at(self.choices.shrunk, step))

    def _hooks(self, run_dir: RunDir, tracker: Tracker) -> list[Hook]:
        """What was left out, log, validate, sample, save: so a checkpoint knows whether it is the best."""
        config, device = self.config, self.learner.precision.device
        log = Log(
            tracker,
            every=config.train.log_every,
            device=device,
            flops_per_token=training_flops_per_token(self.model.config, context=self.model.config.context_length)
            * config.objective.tokens_read,
            peak_flops=peak_flops(device, config.train.precision),
            compiles=self.choices.compile,
        )
        hooks: list[Hook] = [RecordSkipped(tracker, run=run_dir, rows=self._origins, config=config.train), log]
        if isinstance(self.learner.watch, NormWatch):
            hooks.append(Norms(self.learner.watch, tracker))
        if self.held_out:
            tell = functools.partial(tracker.progress, "validation")
            measure = Validation(self.learner, self.held_out, seed=config.run.seed, progress=tell)
            every, patience = config.train.eval_every, config.train.patience
            hooks.append(Validate(measure, tracker, every=every, patience=patience))
        if self.sampler is not None:
            hooks.append(Sample(self.sampler, tracker, every=config.train.sample_every, folder=run_dir.samples))
        save = Saver(
            directory=run_dir.checkpoints,
            learner=self.learner,
            tokenizer=self.tokenizer,
            objective=config.objective.model_dump(mode="json"),
            keep=config.checkpoint,
        )
        return [*hooks, SaveCheckpoint(save, tracker, config.checkpoint), Artifacts(run_dir, tracker)]
