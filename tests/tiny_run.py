"""A finished run of a tiny project, without the training: its model is as random as on its first day."""

from collections.abc import Mapping
from pathlib import Path

from hornbook.checkpoint.save import mark_best, save_checkpoint
from hornbook.config.chat import ChatTemplate
from hornbook.config.dump import to_toml
from hornbook.models.transformer import Transformer
from hornbook.storage.run_dir import RunDir
from hornbook.tokenizer.tokenizer import Tokenizer
from tiny_project import load, make_project

STEP = 12


def make_run(
    root: Path,
    objective: Mapping[str, object] | None = None,
    *,
    chat_template: ChatTemplate | None = None,
    **changes: object,
) -> Path:
    """The run's directory; its data set lies beside it.

    The configuration has `changes` as `load` takes them; the checkpoint says `objective`, by default the configured,
    and its tokenizer has `chat_template`.
    """
    config = load(make_project(root), **changes)
    tokenizer = Tokenizer.load(config.tokenizer.path)
    if chat_template is not None:
        tokenizer = tokenizer.with_chat_template(chat_template)
    model = Transformer(config.model.complete(vocab_size=tokenizer.vocab_size), seed=0)
    run = RunDir.create(config.run.out_dir, "tiny")
    run.config_file.write_text(to_toml(config), encoding="utf-8")
    run.metrics_file.touch()
    save_checkpoint(
        run.checkpoints,
        step=STEP,
        kind="light",
        model_config=model.config,
        objective=config.objective.model_dump(mode="json") if objective is None else objective,
        weights=model.state_dict(),
        optimizer=None,
        state={"step": STEP},
        tokenizer=tokenizer,
    )
    mark_best(run.checkpoints, STEP)
    run.set_state("finished")
    return run.root
