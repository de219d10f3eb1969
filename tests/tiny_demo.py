"""The demo with a model that needs no time."""

from hornbook.selftest import plan

_SMALL = {"model.d_model": 16, "model.n_layers": 2, "model.n_heads": 2, "model.context_length": 32, "run.threads": 1}
_LESS = {"train.tokens_per_step": 512, "train.eval_tokens": 512, "eval.max_tokens": 512, "generate.max_new_tokens": 8}


def shrink_demo(monkeypatch):
    """Make `hornbook demo` small within one test."""
    monkeypatch.setattr(plan, "_SETTINGS", {**plan._SETTINGS, **_SMALL, **_LESS})
    monkeypatch.setattr(plan, "_DIFFUSION", {**plan._DIFFUSION, **_LESS})
    monkeypatch.setattr(plan, "PROBE_STEPS", 4)
