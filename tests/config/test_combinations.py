"""Keys that do not exist here and combinations that cannot be meant are refused, each with the line and what to do."""

import pytest

from hornbook.config.load import load_config
from hornbook.errors import ConfigError

DIFFUSION = "[objective]\nkind = 'masked_diffusion'\n"
BLOCKS = "[objective]\nkind = 'block_diffusion'\n"
FSDP = "[distributed]\nstrategy = 'fsdp'\n"
PAIRS = "[data]\nstage = 'dpo'\n[objective]\nkind = 'preference'\n"
GELU = "[model]\ninit_from = 'base'\nfeed_forward = 'gelu'\n"
WSD = "[schedule]\nkind = 'wsd'\n"
CASES = [
    # sizes
    ("[model]\nd_model = 100\nn_heads = 3", "run.toml:2: [model] d_model = 100 is not a multiple of n_heads = 3"),
    ("[model]\nn_heads = 4\nn_kv_heads = 3", "run.toml:2: [model] n_heads = 4 is not a multiple of n_kv_heads = 3"),
    ("[model]\nhead_dim = 33", "run.toml:2: [model] rotary positions need an even head_dim, got 33"),
    ("[model]\ndepth = 4", "run.toml:2: [model] depth = 4 has an effect only with preset"),
    ("[model]\npreset = 'auto'", 'run.toml:2: [model] preset = "auto" needs depth'),
    # windows and batches
    ("[data]\nstride = 257", "run.toml:2: data.stride = 257 is more than model.context_length = 256"),
    ("[data]\nstride = 0", "run.toml:2: data.stride = 0: expected an integer of at least 1"),
    ("[train]\ntokens_per_step = 5000", "run.toml:2: train.tokens_per_step = 5000 is not a multiple of"),
    ("[train]\nmicro_batch_size = 3", "run.toml:2: train.tokens_per_step = 16384 is not a multiple of"),
    ("[model]\ncontext_length = 100", "run.toml:2: train.tokens_per_step = 16384 is not a multiple of"),
    ("[train]\ntokens_per_step = 256", "nearest: 2048"),
    ("[eval]\nwindow = 64\nstride = 65", "run.toml:3: [eval] stride = 65 is more than window = 64"),
    ("[data]\nvalid_fraction = 0.5\ntest_fraction = 0.5", "run.toml:2: [data] valid_fraction + test_fraction = 1"),
    # schedules
    ("[schedule]\nwarmup_steps = 1001", "run.toml:2: schedule.warmup_steps = 1001 is more than train.steps = 1000"),
    ("[train]\nsteps = 5\n[schedule]\nkind = 'noam'", "run.toml:2: schedule.warmup_steps = 4000 is more than"),
    ("[schedule]\nwarmup_steps = 1\nwarmup_fraction = 0.1", "give warmup_steps or warmup_fraction, not both"),
    ("[schedule]\nwarmup_fraction = 1.5", "run.toml:2: schedule.warmup_fraction = 1.5: expected a number"),
    (WSD + "decay_fraction = 0.0", "run.toml:3: schedule.decay_fraction = 0.0: expected a number greater than 0"),
    (WSD + "decay_fraction = 0.3\ndecay_steps = 5", "give decay_steps or decay_fraction"),
    (
        WSD + "warmup_fraction = 0.6\ndecay_fraction = 0.5",
        "run.toml:3: schedule.warmup_fraction (600 steps) and schedule.decay_fraction (500 steps) are longer together",
    ),
    (WSD + "warmup_steps = 900", "run.toml:3: schedule.warmup_steps (900 steps) and schedule.decay_fraction (200"),
    (WSD + "warmup_steps = 10\ndecay_steps = 991", "run.toml:3: schedule.warmup_steps (10 steps) and schedule.decay"),
    # objectives
    ("[objective]\nkind = 'masked'", 'run.toml:2: objective.kind = "masked": expected one of next_token'),
    ("[objective]\nblock_length = 8", "it belongs to [objective] of kind block_diffusion"),
    (DIFFUSION + "z_loss = 1e-4", "run.toml:3: objective.z_loss: unknown key; it belongs to [objective] of kind"),
    (DIFFUSION + "min_mask_probability = 0.0", "run.toml:3: objective.min_mask_probability = 0.0: expected a number"),
    (DIFFUSION + "curriculum_steps = 10", "run.toml:3: [objective] curriculum_steps = 10 with curriculum_start = None"),
    (
        DIFFUSION + "curriculum_steps = 10\ncurriculum_start = 1e-3",
        "[objective] curriculum_start = 0.001 is not above min_mask_probability = 0.001",
    ),
    (
        DIFFUSION + "curriculum_steps = 1001\ncurriculum_start = 0.5",
        "run.toml:3: objective.curriculum_steps = 1001 is more than train.steps = 1000",
    ),
    ("[objective]\nkind = 'joint'\ndiffusion_weight = 0.0", "objective.diffusion_weight = 0.0: expected a number"),
    ("[objective]\nkind = 'joint'\ndiffusion_weight_start = 0.5", "a changing weight needs both"),
    (BLOCKS + "block_length = 24", "run.toml:3: objective.block_length = 24 is not a divisor of model.context_length"),
    (BLOCKS + "block_length = 24", "nearest: 16 or 32"),
    (BLOCKS + "block_length = 512", "nearest: 256"),
    (BLOCKS + "[model]\nngram_length = 2\nngram_rows = 99", "n-grams at the start of a block would be"),
    # many processes
    (
        "[distributed]\nshard_group_size = 2",
        'run.toml:2: [distributed] shard_group_size = 2 has no effect with strategy = "auto"',
    ),
    ("[distributed]\nshard_group_size = 1", "shard_group_size = 1: expected an integer of at least 2"),
    (
        FSDP + "shard_optimizer = false",
        'run.toml:3: [distributed] shard_optimizer has no effect with strategy = "fsdp"',
    ),
    (FSDP + "bucket_size_mb = 1.0", 'run.toml:3: [distributed] bucket_size_mb has no effect with strategy = "fsdp"'),
    (FSDP + "[train]\ncompile = 'on'", "run.toml:4: train.compile asks for compiled code"),
    (FSDP + "[model]\nattention_backend = 'compiled'", "run.toml:4: model.attention_backend asks for compiled code"),
    (FSDP + "[tracking]\nhistograms_every = 5\ntensorboard = true", "run.toml:4: tracking.histograms_every = 5 needs"),
    ("[checkpoint]\nsharded = true", "run.toml:2: checkpoint.sharded = true writes the parts of a model"),
    # adapters
    ("[lora]", "run.toml:1: lora adapts a model that has learnt"),
    ("[lora]\nrank = 4", "lora adapts a model that has learnt"),
    ("[lora]\nrank = 0", "run.toml:2: lora.rank = 0: expected"),
    ("[lora]\ntargets = []", "run.toml:2: lora.targets = []: expected"),
    ("[lora]\ntargets = ['q_proj', 'gate']", 'run.toml:2: lora.targets[1] = "gate": expected one of q_proj'),
    (GELU + "[lora]\ntargets = ['gate_proj', 'q_proj']", "run.toml:5: lora.targets lists gate_proj, and a model of"),
    (GELU + "[lora]\ntargets = ['gate_proj', 'q_proj']", "has only q_proj, k_proj, v_proj, o_proj, up_proj, down_proj"),
    (GELU + "[lora]\nalso_train = ['head']", "run.toml:5: lora.also_train lists head, and the model has none of its"),
    (
        GELU + "[lora]\nalso_train = ['token_embedding']\n" + PAIRS + "reference = 'adapter'",
        'run.toml:10: objective.reference = "adapter" with lora.also_train',
    ),
    # keys of another kind
    ("[schedule]\nkind = 'cosine'\ndecay_fraction = 0.1", "it belongs to [schedule] of kind wsd"),
    ("[schedule]\nkind = 'noam'\nwarmup_fraction = 0.1", "it belongs to [schedule] of kind"),
    ("[schedule]\nkind = 'constant'\nfinal_fraction = 0.1", "it belongs to [schedule] of kind"),
    ("[data.source]\nkind = 'embedded'\npaths = ['a']", "it belongs to [data.source] of kind text or jsonl"),
    ("[data.source]\nkind = 'text'\npaths = ['a']\ntext_field = 'x'", "it belongs to [data.source] of kind jsonl"),
    (
        "[optim]\nkind = 'adamw'\nns_steps = 5",
        "run.toml:3: optim.ns_steps: unknown key; it belongs to [optim] of kind muon",
    ),
    ("[optim]\nmomentum = 0.9", "run.toml:2: optim.momentum: unknown key; it belongs to [optim] of kind"),
    ("[optim]\nkind = 'lion'\neps = 1e-8", "run.toml:3: optim.eps: unknown key; it belongs to [optim] of kind"),
    (
        "[optim]\nkind = 'sgd'\nbetas = [0.9, 0.9]",
        "run.toml:3: optim.betas: unknown key; it belongs to [optim] of kind",
    ),
    (
        "[optim]\nkind = 'muon'\n[optim.groups.matrix]\nlearning_rate = 0.1",
        "run.toml:3: [optim.groups.matrix]: unknown",
    ),
    ("[optim]\nkind = 'muon'\nmomentum_start = 0.99", "run.toml:3: [optim] momentum_start = 0.99 is above momentum"),
    ("[optim]\nkind = 'adamwx'", 'run.toml:2: optim.kind = "adamwx": expected one of adamw, adam'),
    # keys that do not exist
    ("[train]\nstep = 5", "run.toml:2: train.step: unknown key; did you mean train.steps?"),
    ("[train]\nbatch_size = 5", "did you mean train.micro_batch_size?"),
    ("[model]\nn_layer = 5", "did you mean model.n_layers?"),
    ("[optim]\nlr = 1e-3", "did you mean optim.learning_rate?"),
    ("[optimizer]\nlr = 1e-3", "[optimizer]: unknown table"),
]


@pytest.mark.parametrize(("text", "message"), CASES)
def test_it_is_refused(text, message, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(text + "\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"data.stride": 256},
        {"schedule.warmup_steps": 1000},
        {"schedule": {"kind": "wsd", "warmup_steps": 800}},
        {"schedule": {"kind": "wsd", "warmup_fraction": 0.5, "decay_fraction": 0.5}},
        {"train.steps": 1, "schedule": {"kind": "wsd"}},
        {"train.steps": 1, "schedule": {"kind": "wsd", "warmup_fraction": 0.02}},
        {"eval": {"window": 64, "stride": 64}},
        {"distributed": {"strategy": "fsdp", "shard_group_size": 2}, "checkpoint.sharded": True},
    ],
)
def test_what_just_fits_is_taken(settings):
    load_config(None, values=settings)
