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
from hornbook.data.loader import RowOrigin, WindowBatches
from hornbook.data.mixture import HeldOut, Mixture
from hornbook.distributed.device import explained_nondeterminism, ready_device
from hornbook.distributed.precision import DTYPES, fp32_products
from hornbook.errors import TrainingError
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
from hornbook.training.shares import Shares
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
    run_dir = find_run(config, resume) if resume else None
    before = None if run_dir is None else settings_of(run_dir, config)
    data = Mixture.open(config.data)
    checkpoint = None if run_dir is None else find_checkpoint(run_dir, resume, data_digest=data.digest)
    kept = Choices.read(run_dir.choices_file) if run_dir is not None and checkpoint is not None else None
    job, state = build_job(config, data, checkpoint, kept)
    if before is not None and checkpoint is not None:
        job.remarks = [*job.remarks, *changed_rate(before, config, updates=state.updates)]
    if run_dir is None:
        by_time = f"{datetime.now():%Y-%m-%d-%H%M%S}-{config_hash(config)}"
        run_dir = RunDir.create(config.run.out_dir, config.run.name or by_time)
    return job.run(run_dir, state, resumed=checkpoint is not None)


def build_job(
    config: Config, data: Mixture, checkpoint: Checkpoint | None, kept: Choices | None
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
        checkpoint, kept = find_branch_point(config, data_digest=data.digest), trunk_choices(config)
    init_from = config.model.init_from if checkpoint is None else None
    start = None if init_from is None else load_checkpoint(init_from, with_optimizer=False)
    tokenizer = tokenizer_of(config, data, start or checkpoint)
    shape = shape_of(config, tokenizer)
    check_kernel(config.model.attention_backend, shape, device, DTYPES[config.train.precision])
    steps_left = config.train.steps - (0 if checkpoint is None else checkpoint.step)
    choices, remarks = choose(config, shape, device, kept=kept, steps_left=steps_left)
    torch.set_num_threads(choices.threads)
    model = build_model(config, shape, choices, start).to(device)
    job = Job(config, data, tokenizer, model, choices, remarks)
    state = TrainState() if checkpoint is None else restore(job.learner, checkpoint)
    return job, state if resumed else state.branched()


class Job:
    """The objects of one run, built once and in the order in which they need one another."""

    def __init__(
        self,
        config: Config,
        data: Mixture,
        tokenizer: Tokenizer,
        model: Transformer,
        choices: Choices,
        remarks: Sequence[str],
    ) -> None:
        self.config = config
        self.choices = choices
        self.remarks = [*remarks, *filter(None, [Mixture.remark(config.data)])]
        self.data = data
        self.tokenizer = tokenizer
        self.model = model
        byte_lengths = torch.from_numpy(tokenizer.byte_lengths())
        self.learner = build_learner(config, model, mask_id=tokenizer.mask_id, byte_lengths=byte_lengths)
        self.strategy = self.learner.strategy
        if choices.compile:
            compile_updates(self.learner.optimizer)
        length = config.model.context_length
        self.samples_per_step = config.train.tokens_per_step // length
        lookahead = self.learner.objective.lookahead
        windows, self.order = data.reading(
            context_length=length,
            lookahead=lookahead,
            stride=config.data.stride or length,
            seed=config.run.seed,
            kind=config.data.order,
            rows=self.samples_per_step,
        )
        self.batches = WindowBatches(
            windows,
            self.order,
            samples_per_step=self.samples_per_step,
            micro_batch_size=choices.micro_batch_size,
            rank=self.strategy.rank,
            world_size=self.strategy.world_size,
        )
        self.held_out: HeldOut | None = None
        if config.train.eval_every:
            self.held_out = data.held_out(
                context_length=length,
                lookahead=lookahead,
                n_windows=max(1, config.train.eval_tokens // length),
                batch_size=choices.eval_batch_size,
            )
            self.remarks = [*self.remarks, *filter(None, [self.held_out.remark])]
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
                rows, config = self.choices.micro_batch_size, self.config
                remember(self.model.config, rows, config.train.precision, config.objective.kind)
            status = "preempted" if result.stop_reason == "preempted" else "finished"
        show_averages(self.learner.optimizer)
        return TrainedRun(run_dir=run_dir, result=result, model=self.model, tokenizer=self.tokenizer)

    def _describe(self, run_dir: RunDir, *, resumed: bool) -> None:
        """The configuration, and where the run came from; a run that goes on keeps its origin."""
        known = config_hash(self.config)
        replace_file(run_dir.config_file, to_toml(self.config))
        device = str(self.learner.precision.device)
        origin = run_dir.provenance() if resumed else provenance(config_hash=known, devices=[device])
        subject = {"architecture": self.config.model.architecture, "dataset": self.data.words}
        run_dir.write_provenance({**origin, "config_hash": known, "data_digest": self.data.digest, **subject})

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
                "dataset": self.data.words,
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
        if len(self.data.names) > 1:
            every, samples = config.train.log_every, self.samples_per_step
            hooks.append(Shares(self.data.names, self.order, tracker, samples_per_step=samples, every=every))
        if self.held_out is not None:
            tell = functools.partial(tracker.progress, "validation")
            parts = self.held_out.parts if len(self.data.names) > 1 else None
            measure = Validation(self.learner, self.held_out.batches, parts=parts, seed=config.run.seed, progress=tell)
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
