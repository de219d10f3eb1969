"""The whole configuration: what may be written in a TOML file. Each verb reads the tables that it needs."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import NonNegativeInt, PositiveInt, StringConstraints, model_validator

from hornbook.config import combinations
from hornbook.config.chat import ChatConfig
from hornbook.config.data import DataConfig
from hornbook.config.distributed import DistributedConfig
from hornbook.config.generate import EvalConfig, GenerateConfig
from hornbook.config.lora import LoraConfig
from hornbook.config.model import ModelTable
from hornbook.config.objective import NextTokenConfig, ObjectiveConfig
from hornbook.config.optim import AdamWConfig, CosineSchedule, OptimConfig, ScheduleConfig
from hornbook.config.serve import ServeConfig
from hornbook.config.sweep import SweepConfig
from hornbook.config.table import Table
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.config.tracking import TrackingConfig
from hornbook.config.train import CheckpointConfig, TrainConfig

Device = Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")]


class RunTable(Table):
    """`[run]`: what this run is called, where it lives and on what it runs."""

    name: str | None = None
    """Default: a timestamp and a short hash of the configuration."""
    out_dir: Path = Path("runs")
    tags: tuple[str, ...] = ()
    notes: str = ""
    branch_from: Path | None = None
    """A full checkpoint of a trunk (kind wsd or constant), whose run is gone on with under a cooldown of its own;
    written by `hornbook train --branch-from`."""
    seed: NonNegativeInt = 1337
    device: Device = "auto"
    """auto, cpu, cuda, cuda:N or mps; auto takes cuda, then mps, then cpu."""
    deterministic: bool = False
    """Only deterministic algorithms; an operation without one is an error that names it."""
    threads: PositiveInt | None = None
    """CPU threads of torch. Default: torch's own choice."""


class Config(Table):
    """Everything."""

    run: RunTable = RunTable()
    tokenizer: TokenizerConfig = TokenizerConfig()
    chat: ChatConfig = ChatConfig()
    data: DataConfig = DataConfig()
    model: ModelTable = ModelTable()
    lora: LoraConfig | None = None
    objective: ObjectiveConfig = NextTokenConfig()
    optim: OptimConfig = AdamWConfig()
    schedule: ScheduleConfig = CosineSchedule()
    train: TrainConfig = TrainConfig()
    distributed: DistributedConfig = DistributedConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    tracking: TrackingConfig = TrackingConfig()
    generate: GenerateConfig = GenerateConfig()
    eval: EvalConfig = EvalConfig()
    serve: ServeConfig = ServeConfig()
    sweep: SweepConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        combinations.check(self)
        return self

    @property
    def rows_per_step(self) -> int:
        """Samples of one update, over all micro-batches and ranks: windows, rows or pairs."""
        _, size, unit = self.step_size
        return size // unit

    @property
    def step_size(self) -> tuple[str, int, int]:
        """The key that says how much one update takes, its value, and how many of that unit a sample is."""
        if self.train.sequences_per_step is not None:
            return "train.sequences_per_step", self.train.sequences_per_step, 1
        return "train.tokens_per_step", self.train.tokens_per_step, self.model.context_length

    @property
    def positions_per_step(self) -> int:
        """Positions of one update: of rows that are filled up, padding included; a pair has two."""
        return self.rows_per_step * self.model.context_length * (2 if self.data.stage == "dpo" else 1)
