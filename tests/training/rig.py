"""What the tests of this room share: a tiny learner, and a source of two micro-batches a step with uneven masks."""

from collections.abc import Mapping
from pathlib import Path

import torch

from hornbook.config.model import ModelConfig
from hornbook.config.objective import NextTokenConfig
from hornbook.config.optim import AdamWConfig, OptimConfig
from hornbook.config.train import TrainConfig
from hornbook.data.batch import TokenBatch
from hornbook.distributed.precision import Precision
from hornbook.distributed.single import SingleProcess
from hornbook.models.transformer import Transformer, roles
from hornbook.objectives.next_token import NextToken
from hornbook.optim.build import make_optimizer
from hornbook.training.hooks import Moment
from hornbook.training.state import TrainState
from hornbook.training.step import Learner
from hornbook.training.trainer import Trainer

VOCAB, CONTEXT, ROWS = 13, 8, 2
SAMPLES = 2 * ROWS
TOKENS = SAMPLES * CONTEXT


def draw(step: int) -> list[TokenBatch]:
    """Two micro-batches of `step`: in the first nearly nothing counts, in the second everything."""
    rng = torch.Generator().manual_seed(1000 + step)
    masks = [torch.rand((ROWS, CONTEXT + 1), generator=rng) < 0.2, torch.ones(ROWS, CONTEXT + 1, dtype=torch.bool)]
    masks[0][0, 3] = True
    return [
        TokenBatch(
            tokens=torch.randint(VOCAB, (ROWS, CONTEXT + 1), generator=rng),
            loss_mask=mask,
            sample_ids=torch.arange(ROWS) + step * SAMPLES + index * ROWS,
        )
        for index, mask in enumerate(masks)
    ]


class Source:
    """A BatchSource of `draw`."""

    def step(self, step: int) -> list[TokenBatch]:
        return draw(step)


def build_learner(
    *,
    dtype: torch.dtype = torch.float32,
    dropout: float = 0.0,
    seed: int = 0,
    clip: float | None = 1.0,
    objective: NextTokenConfig | None = None,
    learning_rate: float = 1e-2,
    precision: str = "fp32",
    device: str = "cpu",
    optim: OptimConfig | None = None,
) -> Learner[TokenBatch]:
    shape = {"vocab_size": VOCAB, "context_length": CONTEXT, "d_model": 16, "n_layers": 2, "n_heads": 2}
    config = ModelConfig(**shape, n_kv_heads=2, head_dim=8, d_ff=32, dropout=dropout)
    model = Transformer(config, seed=seed).to(device=device, dtype=dtype)
    optim, strategy = optim or AdamWConfig(learning_rate=learning_rate), SingleProcess()
    return Learner(
        model=model,
        objective=NextToken(objective or NextTokenConfig(), chunk_tokens=64, byte_lengths=torch.arange(VOCAB)),
        optimizer=strategy.optimizer(model, lambda named: make_optimizer(named, roles(model), optim)),
        strategy=strategy,
        precision=Precision(precision, torch.device(device)),
        clip_grad_norm=clip,
    )


def build_trainer(learner: Learner[TokenBatch], *, steps: int, **changes: object) -> Trainer:
    given = {
        "schedule": lambda update: 1.0 / (1 + update),
        "batches": Source(),
        "hooks": [],
        "state": TrainState(),
        "config": TrainConfig(steps=steps, tokens_per_step=TOKENS, micro_batch_size=ROWS),
        "samples_per_step": SAMPLES,
        "seed": 5,
    }
    return Trainer(learner, **(given | changes))


class Listener:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int, dict[str, object]]] = []
        self.texts: list[tuple[str, int, str]] = []
        self.histograms: list[tuple[str, int, object]] = []
        self.tasks: list[tuple[str, int, int]] = []
        self.artifacts: list[tuple[Path, str, str]] = []

    def start(self, run: object) -> None: ...

    def log(self, event: str, step: int, values: Mapping[str, object]) -> None:
        self.events.append((event, step, dict(values)))

    def text(self, name: str, step: int, text: str) -> None:
        self.texts.append((name, step, text))

    def histogram(self, name: str, step: int, histogram: object) -> None:
        self.histograms.append((name, step, histogram))

    def progress(self, task: str, done: int, total: int) -> None:
        self.tasks.append((task, done, total))

    def artifact(self, path: Path, name: str, kind: str) -> None:
        self.artifacts.append((path, name, kind))

    def finish(self, status: str) -> None: ...

    def steps(self, event: str) -> list[int]:
        return [step for name, step, _ in self.events if name == event]

    def values(self, event: str, name: str) -> list[object]:
        return [values[name] for kind, _, values in self.events if kind == event]


class Clock:
    """Time that passes only when somebody says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds


class Recorder:
    """A hook that keeps every moment."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []

    def __call__(self, at: Moment) -> None:
        self.moments.append(at)
