"""The composition root: a configuration becomes objects, and the objects become a run. Only here do kinds have classes.

    [tokenizer] [data] -> data set -> windows -> batches      [objective] -> objective
    [model] -> Transformer -> [optim] [schedule] -> optimizer      [tracking] [checkpoint] -> hooks -> Trainer

Nothing below this file reads a configuration file, and nothing above it builds a model.
"""

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from hornbook.checkpoint.load import Checkpoint, load_checkpoint
from hornbook.config.dump import config_hash
from hornbook.config.layers import DEFAULT, Origin
from hornbook.config.run import Config
from hornbook.data.loader import RowOrigin
from hornbook.data.mixture import MixedOrder, Mixture
from hornbook.data.otherwise import otherwise_prepared
from hornbook.distributed.device import accelerator_words, explained_nondeterminism, ready_device
from hornbook.distributed.environment import place_of
from hornbook.distributed.precision import DTYPES, fp32_products
from hornbook.distributed.process_group import ALONE, Processes, joined
from hornbook.errors import ConfigError
from hornbook.evaluation.samples_card import sample_metrics
from hornbook.models.accounting import run_flops_per_token
from hornbook.models.attention_kernels import check_kernel, only_kernel
from hornbook.models.transformer import Transformer
from hornbook.optim.averaging import show_averages
from hornbook.optim.schedules import multiplier
from hornbook.profiling.probe import peak_flops
from hornbook.storage.run_dir import RunDir
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tracking.tracker import Scalar, Tracker
from hornbook.training.annotated import annotated_for_nvtx, nvtx_remark
from hornbook.training.branches import find_branch_point, trunk_choices
from hornbook.training.choices import Choices
from hornbook.training.choosing import choose
from hornbook.training.compiled import compile_updates, remember
from hornbook.training.hooks import Hook, Log, Sample, SaveCheckpoint, Validate
from hornbook.training.norms import Norms, NormWatch
from hornbook.training.out_of_memory import rows_at
from hornbook.training.reading import read
from hornbook.training.reference_scores import settle_reference
from hornbook.training.resume import changed_rate, find_checkpoint, find_run, settings_of
from hornbook.training.run_record import Beginning, failures_logged, recorded, silent
from hornbook.training.saving import Artifacts, Sampler, Saver, restore, sharded_saves
from hornbook.training.shares import Shares
from hornbook.training.skip_record import RecordSkipped
from hornbook.training.start import as_read, build_learner, build_model, shape_of, tokenizer_of
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


def train(config: Config, *, resume: bool | Path = False, origins: Mapping[str, Origin] | None = None) -> TrainedRun:
    """Train as the configuration says, in a run directory of its own, or go on with a run.

    `resume` as a path names the run, or one of its full checkpoints; as True it is the newest run of the same
    configuration, or a new one if there is none, so that a job script may always say it. `origins` (see `load_config`)
    are kept with the run.

    Where the environment says that several processes train together (torchrun, srun, `hornbook train --nproc`), each of
    them calls this; the first one writes, and all return the same.

    Raises:
        HornbookError: whatever keeps the run from starting or going on; the run's state is then `failed`.
    """
    if config.sweep is not None:
        raise ConfigError("[sweep] says that there are many runs: hornbook sweep run FILE, or one with --index K")
    place = place_of(os.environ)
    device = ready_device(config.run, place)
    with joined(place, config.distributed, device) as processes:
        written = {key: str(origin) for key, origin in (origins or {}).items() if origin != DEFAULT}
        return _train(config, resume, device, processes, written)


def _train(
    config: Config, resume: bool | Path, device: torch.device, processes: Processes, origins: Mapping[str, str]
) -> TrainedRun:
    run_dir = find_run(config, resume) if resume else None
    before = None if run_dir is None else settings_of(run_dir, config)
    data = Mixture.open(config.data)
    checkpoint = None if run_dir is None else find_checkpoint(run_dir, resume, data_digest=data.digest)
    processes.check_same(f"{config_hash(config)} on {device.type}", what="the configuration or kind of device")
    processes.check_same(data.digest, what="the data set")
    found = f"{run_dir and run_dir.root} {checkpoint and checkpoint.path}"
    processes.check_same(found, what="the run or checkpoint to go on from")
    kept = Choices.read(run_dir.choices_file) if run_dir is not None and checkpoint is not None else None
    job, state = build_job(config, data, checkpoint, kept, device=device, processes=processes)
    if before is not None and checkpoint is not None:
        job.remarks = [*job.remarks, *changed_rate(before, config, updates=state.updates)]
    if run_dir is None:
        name = config.run.name or f"{datetime.now():%Y-%m-%d-%H%M%S}-{config_hash(config)}"
        run_dir = RunDir(Path(processes.first(lambda: str(RunDir.create(config.run.out_dir, name).root))))
    return job.run(run_dir, state, resumed=checkpoint is not None, origins=origins)


def build_job(
    config: Config,
    data: Mixture,
    checkpoint: Checkpoint | None,
    kept: Choices | None,
    *,
    device: torch.device | None = None,
    processes: Processes = ALONE,
) -> tuple["Job", TrainState]:
    """The objects of a run that goes on from its `checkpoint` with the choices `kept`, or else starts or branches.

    `device` is by default what the configuration says. Nothing is written.

    Raises:
        HornbookError: whatever keeps the run from starting or going on.
    """
    device = ready_device(config.run) if device is None else device
    resumed = checkpoint is not None
    # What a resumed run started from lies in its own checkpoint; the original may be gone by now.
    if checkpoint is None:
        checkpoint, kept = find_branch_point(config, data_digest=data.digest), trunk_choices(config)
    init_from = config.model.init_from if checkpoint is None else None
    start = None if init_from is None else load_checkpoint(init_from, with_optimizer=False)
    tokenizer = tokenizer_of(config, data, start or checkpoint)
    shape = shape_of(config, tokenizer, start or checkpoint)
    check_kernel(config.model.attention_backend, shape, device, DTYPES[config.train.precision])
    steps_left = config.train.steps - (0 if checkpoint is None else checkpoint.step)
    choices, remarks = choose(config, shape, device, kept=kept, steps_left=steps_left, processes=processes)
    torch.set_num_threads(choices.threads)
    model = build_model(config, shape, choices, start, tokens=tokenizer.vocab_size)
    if not config.distributed.cuts_up_model(processes.world_size):  # else no device need hold all of it
        model = model.to(device)
    remarks += otherwise_prepared(config, data, None if start is None else start.tokenizer)
    job = Job(config, data, tokenizer, model, choices, remarks, processes, device)
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
        processes: Processes,
        device: torch.device,
    ) -> None:
        self.config = config
        self.processes = processes
        self.choices = choices
        self.data, self.tokenizer, self.model = data, tokenizer, model
        byte_lengths = torch.from_numpy(tokenizer.byte_lengths())
        self.learner = build_learner(
            config, model, processes, device=device, mask_id=tokenizer.mask_id, byte_lengths=byte_lengths
        )
        self.strategy = self.learner.strategy
        if choices.compile:
            compile_updates(self.learner.optimizer)
        self.reading = reading = read(config, data, choices, processes, lookahead=self.learner.objective.lookahead)
        self.order, self.batches, self.held_out = reading.order, reading.batches, reading.held_out
        held_out = None if self.held_out is None else self.held_out.remark
        self.remarks = [*remarks, *filter(None, (Mixture.remark(config.data), held_out, nvtx_remark()))]
        self.sampler: Sampler | None = None
        if config.train.sample_every:
            prompts, objective = config.train.sample_prompts, as_read(config.objective)
            form = {"as_messages": config.data.stage != "pretrain"}
            self.sampler = Sampler(self.learner, tokenizer, prompts, config.generate, objective, **form)

    def run(
        self, run_dir: RunDir, state: TrainState, *, resumed: bool, origins: Mapping[str, str] | None = None
    ) -> TrainedRun:
        """Everything that happens inside the run directory; whatever ends it early leaves the run `failed`."""
        processes, record = self.processes, silent()
        devices = tuple(processes.everyones(str(self.learner.precision.device)))
        with failures_logged(run_dir, processes), contextlib.ExitStack() as at_end:
            at_end.enter_context(self.computing())

            def begin() -> None:
                nonlocal record
                beginning = Beginning(
                    devices=devices,
                    data_digest=self.data.digest,
                    data_words=self.data.words,
                    first_step=state.step,
                    resumed=resumed,
                    details=self._details(),
                    accelerator=accelerator_words(self.learner.precision.device),
                    data_cards=self.data.cards(),
                    origins=origins or {},
                )
                record = at_end.enter_context(recorded(run_dir, self.config, self.choices, beginning))

            processes.first(begin)
            given = (self.config, self.learner, self.reading, self.data.digest)
            settle_reference(*given, run_dir, processes, record.tracker, tokens=self.tokenizer.vocab_size)
            retreat = functools.partial(self._retreat, run_dir, record.tracker)
            trainer = self.trainer(state, self._hooks(run_dir, record.tracker), retreat)
            with explained_nondeterminism(), annotated_for_nvtx(trainer):
                result = trainer.run()
            if self.choices.compile:
                rows, config = self.choices.micro_batch_size, self.config
                remember(self.model.config, rows, config.train.precision, config.objective.kind, config.lora)
            show_averages(self.learner.optimizer)
            self.strategy.share()
            record.status = "preempted" if result.stop_reason == "preempted" else "finished"
            processes.first(at_end.close)  # nobody leaves before all is written
        return TrainedRun(run_dir=run_dir, result=result, model=self.model, tokenizer=self.tokenizer)

    def _details(self) -> dict[str, Scalar]:
        warning = {"warning": "; ".join(self.remarks)} if self.remarks else {}
        trained = {} if self.config.lora is None else {"trained_parameters": self.model.n_trained}
        return {
            "n_parameters": self.model.n_parameters,
            **trained,
            "flops_per_token": run_flops_per_token(self.config, self.model.config),
            "choices": self.choices.line(),
            **warning,
        }

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
        if self.processes.is_first:
            self.choices.write(run_dir.choices_file)
        tracker.log("notice", step, {"notice/text": line})

    def trainer(self, state: TrainState, hooks: Sequence[Hook], on_retreat: OnRetreat = no_retreat) -> Trainer[Any]:
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
            samples_per_step=self.batches.samples_per_step,
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
        config, device, is_first = self.config, self.learner.precision.device, self.processes.is_first
        log = Log(
            tracker,
            every=config.train.log_every,
            device=device,
            flops_per_token=run_flops_per_token(config, self.model.config),
            peak_flops=self._peak_flops(),
            compiles=self.choices.compile,
        )
        save = Saver(
            directory=run_dir.checkpoints,
            learner=self.learner,
            tokenizer=self.tokenizer,
            objective=as_read(config.objective),
            keep=config.checkpoint,
            parts=sharded_saves(config, self.strategy, run_dir.checkpoints, self.processes),
        )
        skipped = RecordSkipped(
            tracker, run=run_dir, rows=self._origins, config=config.train, writes=is_first, settle=save.settle
        )
        hooks: list[Hook] = [skipped, log]
        if isinstance(self.learner.watch, NormWatch):
            hooks.append(Norms(self.learner.watch, tracker))
        if isinstance(self.order, MixedOrder) and len(self.data.names) > 1:
            every, samples = config.train.log_every, self.batches.samples_per_step
            hooks.append(Shares(self.data.names, self.order, tracker, samples_per_step=samples, every=every))
        if self.held_out is not None:
            tell = functools.partial(tracker.progress, "validation")
            parts = self.held_out.parts if len(self.data.names) > 1 else None
            least, seed, batches = self.reading.least_loss, config.run.seed, self.held_out.batches
            measure = Validation(self.learner, batches, parts=parts, least=least, seed=seed, progress=tell)
            hooks.append(Validate(measure, tracker, every=config.train.eval_every, patience=config.train.patience))
        if self.sampler is not None:
            training = [dataset.split("train") for dataset in self.data.datasets]
            told = functools.partial(sample_metrics, self.sampler.made, self.tokenizer, training)
            every, folder = config.train.sample_every, run_dir.samples
            hooks.append(Sample(self.sampler, tracker, every=every, folder=folder, measure=told))
        hooks.append(SaveCheckpoint(save, tracker, config.checkpoint))
        return [*hooks, Artifacts(run_dir, tracker)] if is_first else hooks

    def _peak_flops(self) -> float | None:
        """Of all devices together, as far as is known: the first process measures one of them for all."""
        if not self.processes.is_first:
            return None
        peak = peak_flops(self.learner.precision.device, self.config.train.precision)
        return None if peak is None else peak * self.processes.world_size
