"""What the processes of these tests do; each function is called on all of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from hornbook.config.lora import LoraConfig
from hornbook.config.model import ModelConfig
from hornbook.config.objective import NextTokenConfig
from hornbook.config.optim import AdamWConfig, OptimConfig
from hornbook.data.batch import TokenBatch
from hornbook.distributed.ddp import DataParallel
from hornbook.distributed.full_state import FullState
from hornbook.distributed.parts import gathered_rows, part_of
from hornbook.distributed.precision import DTYPES, Precision
from hornbook.distributed.process_group import Processes
from hornbook.distributed.single import SingleProcess
from hornbook.distributed.strategy import Strategy
from hornbook.errors import HornbookError
from hornbook.models.lora import add_lora
from hornbook.models.transformer import Transformer, roles
from hornbook.objectives.next_token import NextToken
from hornbook.objectives.objective import StepContext
from hornbook.optim.build import make_optimizer
from hornbook.training.out_of_memory import MicroBatchTooLarge
from hornbook.training.step import Learner, StepReport, train_step
from hornbook.training.validation import Validation

VOCAB, CONTEXT = 13, 8


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a learner is built."""

    dtype: torch.dtype = torch.float64
    optim: OptimConfig = field(default_factory=lambda: AdamWConfig(learning_rate=1e-2))
    bucket_bytes: int = 4096
    shard_optimizer: bool = True
    fully_sharded: bool = False
    group_size: int | None = None
    tied: bool = True
    micro_batches: int = 6
    dropout: float = 0.0
    seed: int = 0
    activation_checkpointing: bool = False
    head_dim: int = 8
    qk_norm: bool = False
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    lora: LoraConfig | None = None


def draw(step: int, micro_batches: int) -> list[TokenBatch]:
    """The micro-batches of a step over all ranks: of two rows each, with one target to all of them."""
    rng = torch.Generator().manual_seed(1000 + step)
    batches = []
    for index in range(micro_batches):
        mask = torch.rand((2, CONTEXT + 1), generator=rng) < (0.05 if index % 2 == 0 else 0.95)
        mask[0, 3] = True
        tokens = torch.randint(VOCAB, (2, CONTEXT + 1), generator=rng)
        samples = torch.arange(2) + 2 * (step * micro_batches + index)
        batches.append(TokenBatch(tokens=tokens, loss_mask=mask, sample_ids=samples))
    return batches


def build(processes: Processes, settings: Settings) -> Learner[TokenBatch]:
    shape = {"vocab_size": VOCAB, "context_length": CONTEXT, "d_model": 16, "n_layers": 2, "n_heads": 2}
    heads = {"n_kv_heads": 2, "head_dim": settings.head_dim, "qk_norm": settings.qk_norm}
    config = ModelConfig(**shape, **heads, d_ff=32, tie_embeddings=settings.tied, dropout=settings.dropout)
    model = Transformer(config, seed=settings.seed + processes.rank).to(settings.dtype)  # rank 0's is what counts
    model.activation_checkpointing = settings.activation_checkpointing
    if settings.lora is not None:
        add_lora(model, settings.lora, seed=settings.seed + processes.rank)
    strategy = build_strategy(processes, settings)
    strategy.prepare(model)
    return Learner(
        model=model,
        objective=NextToken(NextTokenConfig(), chunk_tokens=64, byte_lengths=torch.arange(VOCAB)),
        optimizer=strategy.optimizer(model, lambda named: make_optimizer(named, roles(model), settings.optim)),
        strategy=strategy,
        precision=Precision(settings.precision, torch.device("cpu")),
        clip_grad_norm=0.5,
    )


def state_at_first(processes: Processes, settings: Settings) -> int:
    """Bytes of state that the optimizer has when it has just been made."""
    made: list[int] = []
    real = make_optimizer

    def seen(*given: Any) -> Any:
        optimizer = real(*given)
        tensors = [tensor for state in optimizer.state.values() for tensor in state.values()]
        made.append(sum(tensor.nbytes for tensor in tensors if tensor.ndim and tensor.device.type != "meta"))
        return optimizer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distributed.cases.make_optimizer", seen)
        build(processes, settings)
    return made[0]


def build_strategy(processes: Processes, settings: Settings) -> Strategy:
    if processes.world_size == 1:
        return SingleProcess()
    if not settings.fully_sharded:
        return DataParallel(processes, bucket_bytes=settings.bucket_bytes, shard_optimizer=settings.shard_optimizer)
    from hornbook.distributed.fsdp import FullySharded

    products = None if settings.precision == "fp32" else DTYPES[settings.precision]
    return FullySharded(processes, device=torch.device("cpu"), group_size=settings.group_size, products=products)


def steps(learner: Learner[TokenBatch], first: int, last: int, micro_batches: int) -> list[StepReport]:
    strategy = learner.strategy
    reports = []
    for step in range(first, last):
        own = draw(step, micro_batches)[strategy.rank :: strategy.world_size]
        at = StepContext(seed=5, step=step, samples_per_step=2 * micro_batches)
        reports.append(train_step(learner, own, at, multiplier=1.0 / (1 + step)))
    return reports


def weights(learner: Learner[TokenBatch]) -> dict[str, Tensor]:
    """Whole ones, on every rank."""
    parameters = dict(learner.model.named_parameters())
    if learner.strategy.cuts_up_model:
        group = learner.strategy.group
        return {name: gathered_rows(part_of(each), each.shape, group).clone() for name, each in parameters.items()}
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


def train(processes: Processes, settings: Settings, n: int) -> dict[str, Any]:
    """Weights, losses and norms of `n` steps, a validation with averages, and the state."""
    learner = build(processes, settings)
    reports = steps(learner, 0, n, settings.micro_batches)
    share = draw(99, 5)[processes.rank :: processes.world_size]  # not the same number on each
    validated = Validation(learner, share, seed=1)()["loss"]
    state = learner.strategy.full_state(learner.model, learner.optimizer)
    return {
        "weights": weights(learner),
        "losses": [report.loss for report in reports],
        "norms": [report.grad_norm for report in reports],
        "metrics": [report.metrics for report in reports],
        "validated": validated,
        "state": state and (state.model, state.optimizer),
        "state_bytes": sum(t.nbytes for each in learner.optimizer.state.values() for t in each.values()),
    }


def resume(processes: Processes, settings: Settings, saved: Any, first: int, last: int) -> dict[str, Any]:
    """Go on from a state that some other number of processes left."""
    learner = build(processes, settings)
    learner.strategy.load_full_state(learner.model, learner.optimizer, FullState(model=saved[0], optimizer=saved[1]))
    reports = steps(learner, first, last, settings.micro_batches)
    state = learner.strategy.full_state(learner.model, learner.optimizer)
    losses = [report.loss for report in reports]
    return {"weights": weights(learner), "losses": losses, "state": state and (state.model, state.optimizer)}


def load_what_does_not_fit(processes: Processes, settings: Settings, saved: Any) -> str:
    learner = build(processes, settings)
    before = weights(learner)
    try:
        learner.strategy.load_full_state(
            learner.model, learner.optimizer, FullState(model=saved[0], optimizer=saved[1])
        )
    except HornbookError as error:
        assert all(torch.equal(before[name], now) for name, now in weights(learner).items())
        return str(error)
    return "loaded"


class Branches(nn.Module):
    """Which of its layers are used depends on the input; one is frozen, one never used."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right, self.frozen, self.never = (nn.Linear(3, 3).double() for _ in range(4))
        self.frozen.requires_grad_(False)
        self.register_buffer("count", torch.zeros(2))

    def forward(self, x: Tensor, *, right: bool) -> Tensor:
        return self.frozen((self.right if right else self.left)(x)).square().sum()


def branches(processes: Processes, shard: bool) -> dict[str, Any]:
    """Rank 0 alone uses `right` in its first micro-batch; nobody in later steps."""
    model, strategy = Branches(), DataParallel(processes, bucket_bytes=64, shard_optimizer=shard)
    with torch.no_grad():
        model.left.weight.add_(processes.rank)
        model.count.fill_(7.0 - processes.rank)
    strategy.prepare(model)
    seen: dict[str, Any] = {"buffer": model.count.tolist(), "grads": []}
    x = torch.arange(3.0, dtype=torch.float64) + 1 + processes.rank
    optimizer = strategy.optimizer(model, lambda named: torch.optim.AdamW(named, lr=0.1))
    for step in range(3):
        strategy.backward(model(x, right=step == 0 and processes.rank == 0), last=False)
        strategy.backward(model(2 * x, right=False), last=True)
        seen["grads"].append({n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()})
        strategy.update(optimizer)
        strategy.zero_grad(optimizer)
    return {**seen, "weights": {name: p.detach().clone() for name, p in model.named_parameters()}}


@contextmanager
def counted_sums() -> Iterator[list[int]]:
    """The length of every sum over processes that is started inside."""
    found: list[int] = []
    real = dist.all_reduce

    def all_reduce(tensor: Tensor, *args: Any, **more: Any) -> Any:
        found.append(tensor.numel())
        return real(tensor, *args, **more)

    dist.all_reduce = all_reduce
    try:
        yield found
    finally:
        dist.all_reduce = real


def sums_started(processes: Processes) -> dict[str, list[int]]:
    """By accumulating backward passes, and by the last one."""
    learner = build(processes, Settings())
    own = draw(0, 6)[processes.rank :: processes.world_size]
    found = {}
    for name, last in (("before", False), ("last", True)):
        with counted_sums() as sums:
            learner.strategy.backward(learner.objective(learner.model, own[0]).terms["cross_entropy"], last=last)
        found[name] = list(sums)
    found["planned"] = [bucket.flat.numel() for bucket in learner.strategy.buckets.buckets]
    return found


def fail_in_backward(processes: Processes, who: Sequence[int], last: bool) -> dict[str, Any]:
    """The ranks `who` fail in the middle of a backward pass, then everybody makes two good steps."""
    learner = build(processes, Settings(shard_optimizer=False))
    strategy, middle = learner.strategy, learner.model.layers[0].feed_forward
    own = draw(7, 6)[processes.rank :: processes.world_size]

    def explode(*_: object) -> None:
        raise OSError("in backward")

    handle = middle.register_full_backward_hook(explode) if processes.rank in who else None
    raised = False
    try:
        strategy.backward(learner.objective(learner.model, own[0]).terms["cross_entropy"], last=last)
    except OSError:
        raised = True
    if handle is not None:
        handle.remove()
    if processes.any(raised)[0]:
        strategy.abandon()
    strategy.zero_grad(learner.optimizer)
    reports = steps(learner, 0, 2, 6)
    return {"raised": raised, "weights": weights(learner), "losses": [report.loss for report in reports]}


class _Greedy:
    """An objective that runs out of memory on one rank, in its second micro-batch, while rows are too many."""

    def __init__(self, inner: Any, rank: int) -> None:
        self.inner, self.rank, self.calls = inner, rank, 0
        self.lookahead = inner.lookahead
        self.prepare, self.weight = inner.prepare, inner.weight

    def __call__(self, model: Transformer, batch: TokenBatch) -> Any:
        self.calls += 1
        if self.rank == 1 and batch.n_rows > 1 and self.calls % 2 == 0:
            raise MemoryError("no more")
        return self.inner(model, batch)


def run_out_of_memory(processes: Processes) -> dict[str, Any]:
    """One rank fails, all do; in smaller pieces the step is what it would have been."""
    learner = build(processes, Settings())
    greedy = replace(learner, objective=_Greedy(learner.objective, processes.rank))
    own = draw(0, 6)[processes.rank :: processes.world_size]
    at = StepContext(seed=5, step=0, samples_per_step=12)
    try:
        train_step(greedy, own, at, multiplier=1.0)
        raised = ""
    except MicroBatchTooLarge as error:
        raised = str(error)
    pieces = [piece for batch in own for piece in batch.cut(1)]
    report = train_step(greedy, pieces, at, multiplier=1.0)
    return {"raised": raised, "loss": report.loss, "weights": weights(learner)}


def talk(processes: Processes) -> dict[str, Any]:
    """JSON and flags from rank to rank."""

    def refuse() -> None:
        raise HornbookError("rank 0 says no")

    try:
        processes.first(refuse)
        refused = ""
    except HornbookError as error:
        refused = str(error)
    try:
        processes.check_same("same" if processes.rank == 0 else "other", what="the thing")
        differs = ""
    except HornbookError as error:
        differs = str(error)
    processes.check_same("same", what="the thing")
    return {
        "first": processes.first(lambda: {"rank": processes.rank, "text": "äöü", "none": None}),
        "refused": refused,
        "differs": differs,
        "any": processes.any(processes.rank == 1, False),
        "everyones": processes.everyones([processes.rank]),
    }
