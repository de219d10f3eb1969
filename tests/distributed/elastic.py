"""A run that is handed from processes to other processes through its checkpoints, in float64."""

from pathlib import Path
from typing import Any

from hornbook.checkpoint.load import load_checkpoint
from hornbook.config.load import load_config
from hornbook.config.run import Config
from hornbook.config.train import CheckpointConfig
from hornbook.distributed.process_group import Processes
from hornbook.models.transformer import Transformer
from hornbook.selftest.parallel_cases import cut_down, distributed, verified
from hornbook.selftest.parallel_data import Tokens
from hornbook.training.hooks import Moment
from hornbook.training.saving import Saver, restore
from hornbook.training.start import build_learner
from hornbook.training.state import TrainState
from hornbook.training.trainer import Trainer

ROWS = 18


def settings(strategy: str) -> Config:
    """A tiny model, in buckets of which there are several; "" for one process."""
    config = verified(cut_down(load_config(None).config), ROWS)
    values = {**config.model_dump(mode="json"), "train.micro_batch_size": 1}
    if strategy:
        values["distributed"] = distributed(config, strategy)
    return load_config(None, values=values).config


def go_on(processes: Processes, strategy: str, folder: Path, last: int) -> dict[str, Any]:
    """From the newest checkpoint in `folder`, or the start, to step `last`, and a checkpoint there."""
    config = settings(strategy)
    tokens = Tokens.of(config, is_small=True)
    model = Transformer(config.model.complete(vocab_size=tokens.vocab_size), seed=config.run.seed + processes.rank)
    learner = build_learner(config, model.double(), processes, mask_id=tokens.mask_id)
    older = sorted(folder.glob("step-*"))
    state = restore(learner, load_checkpoint(older[-1])) if older else TrainState()
    losses: list[float] = []

    def remember(at: Moment) -> None:
        losses.append(at.report.loss)

    trainer = Trainer(
        learner,
        schedule=lambda update: min(1.0, (1 + update) / 10),
        batches=tokens.source(config, lookahead=1, rows=ROWS, processes=processes),
        hooks=[remember],
        state=state,
        config=config.train.model_copy(update={"steps": last}),
        samples_per_step=ROWS,
        seed=config.run.seed,
    )
    trainer.run()
    keep = CheckpointConfig(full_keep=100)
    save = Saver(directory=folder, learner=learner, tokenizer=None, objective={}, keep=keep)
    save(state, kind="full", best=False)
    full = learner.strategy.full_state(learner.model, learner.optimizer)
    return {"losses": losses, "weights": full and full.model, "optimizer": full and full.optimizer}
