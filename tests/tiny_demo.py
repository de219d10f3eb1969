"""The demo with a model that needs no time."""

from hornbook.selftest import full_demo, plan

_SMALL = {"model.d_model": 16, "model.n_layers": 2, "model.n_heads": 2, "model.context_length": 32, "run.threads": 1}
_LESS = {"train.tokens_per_step": 512, "train.eval_tokens": 512, "eval.max_tokens": 512, "generate.max_new_tokens": 8}


def shrink_demo(monkeypatch):
    """Make `hornbook demo` small within one test."""
    monkeypatch.setattr(plan, "_SETTINGS", {**plan._SETTINGS, **_SMALL, **_LESS})
    monkeypatch.setattr(plan, "_DIFFUSION", {**plan._DIFFUSION, **_LESS})
    monkeypatch.setattr(plan, "PROBE_STEPS", 4)


def shrink_full_demo(monkeypatch):
    """Make `hornbook demo --full` small within one test."""
    shrink_demo(monkeypatch)
    monkeypatch.setattr(
        plan, "_SETTINGS", {**plan._SETTINGS, "model.context_length": 64, "train.tokens_per_step": 1024}
    )
    rows = {"data.source.min_length": 2, "data.source.max_length": 3, "data.source.n_rows": 300}
    rows |= {"train.sequences_per_step": 4, "train.micro_batch_size": 4, "generate.max_new_tokens": 4}
    tuning = {name: {**settings, **rows} for name, settings in full_demo._TUNING.items()}
    monkeypatch.setattr(full_demo, "_TUNING", tuning)
    monkeypatch.setattr(full_demo, "MOST_STEPS", {"sft": 20, "dpo": 12})
    monkeypatch.setattr(full_demo, "EXAMINED", 9)
