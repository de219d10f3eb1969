"""docs/settings.md: it has every name of the systems it speaks of, and all that it names of ours exists."""

import argparse
import re
from functools import cache
from pathlib import Path

import pytest

from documented_events import documented
from hornbook.cli.main import VERBS, verb_parser
from hornbook.config.keys import all_tables, dotted, kind_of, tagged_tables

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
Rows = list[tuple[str, list[str], str]]

DIFFUSIONLM_TRAINING = """
model: vocab_size context_length d_model num_layers num_heads d_ff rope_theta device dtype mask_token_id noise_epsilon
    random_trunc_prob
optimizer: betas eps weight_decay initial_learning_rate max_learning_rate min_learning_rate warmup_iters
    cosine_cycle_iters grad_clip_max_l2_norm
training: batch_size max_train_iteration max_val_iteration val_freq_iteration ckpting_save_iter seed
data: runs_path np_dat_train_path total_train_tokens np_dat_valid_path total_val_tokens
logging: backend run_name architecture dataset
wandb: entity project
ddp: backend num_nodes node_rank local_rank world_size bucket_size_mb
"""
DIFFUSIONLM_OTHERS = """
tokenizer: merges_path vocab_path special_tokens
checkpoint: ckpt_path
inference: prompt steps gen_length block_length temperature mask_id
input: input_filename total_tokens input_path vocab_size special_tokens text_list
output: output_filename merges_path vocab_path
benchmark: warmup repeats steps synchronize backward optimizer_step perplexity_max_batches perplexity_batch_size
    perplexity_seed
optimizer: lr
benchmark optimizer: betas eps weight_decay grad_clip_max_l2_norm
"""
NAMES = {
    "Simple Transformer": """d_model num_attn_layers num_query_heads num_key_value_groups expansion_factor dropout_rate
        lora_rank lora_alpha vocab_size context_size base_model_path max_new_tokens top_k top_p temperature beta_dpo
        batch_size tokenizer_path tokenizer_profile_name tokenized_data_dir max_iters eval_interval eval_batches
        learning_rate warmup_iters lr_decay_iters min_lr grad_clip checkpoint_dir --output-dir --dataset-dir
        --output-path --tokenizer-path --tokenizer-profile --tokenizer-mode --num-proc --raw-dataset-dir
        --tokenized-dataset-dir --tokenized-dir --logdir""".split(),
    "plainLM": """deterministic seed trainset_path vocab_size seq_len sampler sampler_seed num_workers eval
        validset_path valid_tokens eval_every_steps model d_model mlp_class expand n_layers n_heads rms_norm
        tie_embeddings torch_compile steps_budget micro_batch_size grad_accumulation_steps dtype optim fused_optim lr
        weight_decay beta1 beta2 dampening grad_clip scheduler warmup_steps cooldown_steps lr_start lr_end lr_end_pct
        log_every_steps print_progress use_wandb wandb_project wandb_dir wandb_run_name exp_name out_dir over_write
        resume resume_step resume_micro_step resume_exp_name save_last_checkpoint save_intermediate_checkpoints
        save_every_steps cuda_allow_tf32 cudnn_allow_tf32 set_memory_fraction rmsorm_eps job_idx --config nrows
        shuffle_raw_data dataset_name split out_path num_proc""".split(),
    "Pretraining from Scratch": [
        *"""vocab_size max_position_embeddings n_embd n_layer n_head dropout batch_size gradient_accumulation_steps
        learning_rate warmup_steps max_steps max_epochs weight_decay max_grad_norm block_size stride eval_interval
        log_interval save_interval light_save_interval wandb_project wandb_name use_wandb amp_dtype prompt
        max_tokens""".split(),
        *("best model saving", "early stopping", "random seeds", "gradient checkpointing", "NaN gradient recovery"),
    ],
    "scratch-former": [
        *"""n_blocks d_model d_ff n_heads vocab_size Lmax context_length warmup lr label_smoothing batch_size n_iters
        log_every chkpt_every last_checkpoint device weight_path test_tokens_path CTX_LENGTH N_GEN N_BATCH BEAM K
        T_LOW P_NUC checkpoint_dir val_tokens_path seq_length""".split(),
        "validate batch_size",
    ],
}
COMMANDS = """diffusionlm-train diffusionlm-train-ddp diffusionlm-train-tokenizer diffusionlm-make-data
    diffusionlm-infer benchmarking.bench_infer_latency benchmarking.bench_tokenizer --print-config""".split()
LOG_KEYS = """metrics.loss metrics.train_loss metrics.val_loss metrics.lr metrics.grad_l2_norm metrics.mask_ratio
    metrics.random_truncation_applied metrics.activation_norms/NAME metrics.activation_norms/mean
    metrics.weight_norms/NAME metrics.weight_norms/mean params.temperature params.p params.eos_token_id params.steps
    params.gen_length params.block_length params.mask_id text.prompt text.output metrics.latency_ms metrics.prompt_len
    metrics.output_len metrics.latency_ms.mean metrics.latency_ms.stddev metrics.tokens_sec metrics.tokens_sec.mean
    metrics.tokens_sec.stddev metrics.mask_ratio.mean metrics.mask_ratio.stddev metrics.iters metrics.processed_tokens
    metrics.batch_size metrics.backward metrics.perplexity metrics.perplexity.loss metrics.perplexity.tokens
    metrics.perplexity.batches metrics.perplexity.batch_size metrics.encode.latency_ms.mean
    metrics.encode.tokens_sec.mean metrics.decode.latency_ms.mean metrics.decode.tokens_sec.mean metrics.tokens
    metrics.tokens_processed metrics.total_tokens metrics.tokens_per_sec metrics.duration_s metrics.merges_applied
    metrics.merges_per_sec metrics.vocab_size params.dtype params.shape phase start_run artifact finish finalize summary
    perplexity_skip""".split()
OTHER_LOG_KEYS = [
    *"""Loss/train Loss/eval LearningRate Gradients/norm NLL/theta_w NLL/theta_l NLL/ref_w NLL/ref_l Generations/sample
    step tokens lr train/loss train/ppl valid/loss valid/ppl loss perplexity""".split(),
    *("learning rate", "tokens/second", "Iterations", "Loss", "LR", "seconds/500 iterations", "PPL"),
]
ENVIRONMENT = ("TRANSFORMERLM_NVTX", "TRANSFORMERLM_NVTX_LEVEL")


def with_tables(text: str) -> list[str]:
    """`table: name name` -> table.name; a line that is indented goes on."""
    lines = re.sub(r"\n +", " ", text).strip().splitlines()
    return [f"{table}.{name}" for table, _, names in (line.partition(": ") for line in lines) for name in names.split()]


@cache
def sections() -> dict[str, Rows]:
    """Title -> rows: the name on the left, what is quoted under `here`, and the remark."""
    found: dict[str, Rows] = {}
    title = head = ""
    here = 0
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            depth, _, text = line.partition(" ")
            head = text if len(depth) == 2 else head
            title = text if len(depth) == 2 else f"{head}: {text}"
        elif line.startswith("| there"):
            here = [cell.strip() for cell in line.strip("|").split("|")].index("here")
        elif line.startswith("| `"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found.setdefault(title, []).append((cells[0].strip("`"), quoted(cells[here]), cells[-1]))
    return found


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


EXPECTED = {
    "diffusionLM: Training: train.toml, train_ddp.toml": with_tables(DIFFUSIONLM_TRAINING),
    "diffusionLM: Other files": [*with_tables(DIFFUSIONLM_OTHERS), *ENVIRONMENT],
    "diffusionLM: Commands": COMMANDS,
    **NAMES,
    "Log keys: diffusionLM": LOG_KEYS,
    "Log keys: The others": OTHER_LOG_KEYS,
}
SETTINGS = [title for title in EXPECTED if not title.startswith("Log keys")]


@pytest.mark.parametrize("title", EXPECTED)
def test_every_name_of_theirs_stands_on_the_left_once(title):
    left = [name for name, _, _ in sections()[title]]
    assert sorted(left) == sorted(EXPECTED[title])


def test_there_are_no_other_tables():
    assert set(sections()) == set(EXPECTED)


@pytest.mark.parametrize("title", EXPECTED)
def test_what_has_no_counterpart_says_why(title):
    """Or the row before it does, for the next ones."""
    rows = sections()[title]
    explained = [bool(here or remark) for _, here, remark in rows]
    allowed = [i for i, (_, _, remark) in enumerate(rows) if "as the next" in remark]
    for i, known in enumerate(explained):
        assert known or any(0 < i - first <= 2 for first in allowed), rows[i]


@cache
def settings() -> set[str]:
    return {dotted((*key, name)) for key, table in all_tables() for name in table.model_fields}


@cache
def options(verb: str) -> dict[tuple[str, ...], set[str]]:
    """Path of sub-commands -> the options there."""
    found: dict[tuple[str, ...], set[str]] = {}

    def walk(parser: argparse.ArgumentParser, path: tuple[str, ...]) -> None:
        found[path] = {option for action in parser._actions for option in action.option_strings}
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, inner in action.choices.items():
                    walk(inner, (*path, name))

    walk(verb_parser(verb), ())
    return found


@cache
def variables() -> set[str]:
    """Of the environment, as the code spells them."""
    files = (PAGE.parents[1] / "src").rglob("*.py")
    return {name for file in files for name in re.findall(r'"(HORNBOOK_[A-Z_]+)"', file.read_text(encoding="utf-8"))}


def problem(ours: str) -> str | None:
    """What is wrong with a name of ours, if anything is."""
    if ours.startswith("hornbook "):
        _, verb, *rest = ours.split()
        if verb not in VERBS:
            return "no such verb"
        path = tuple(part for part in rest if not part.startswith("--"))
        if path not in options(verb):
            return f"no such sub-command, there are {sorted(options(verb))}"
        return None if {part for part in rest if part.startswith("--")} <= options(verb)[path] else "no such option"
    if ours.startswith("HORNBOOK_"):
        return None if ours in variables() else "no such variable"
    key, _, value = ours.partition(" = ")
    if key not in settings():
        return "no such setting"
    table, _, name = key.rpartition(".")
    if value and name == "kind":
        kinds = {kind_of(each) for at, each in all_tables() if dotted(at) == table and at in tagged_tables()}
        return None if value.strip('"') in kinds else f"no such kind, there are {sorted(kinds)}"
    return None


@pytest.mark.parametrize("title", SETTINGS)
def test_every_name_of_ours_exists(title):
    names = {
        name
        for _, here, remark in sections()[title]
        for name in (*here, *(each for each in quoted(remark) if re.match(r"hornbook |[a-z_]+\.[a-z_.]+", each)))
    }
    assert {name: problem(name) for name in names if problem(name)} == {}


@pytest.mark.parametrize(
    "name",
    [
        *("model.width", "HORNBOOK_NVTX_LEVLE", "hornbook traim", "hornbook train --no-such", "hornbook data fetsh"),
        'objective.kind = "masked_difusion"',
    ],
)
def test_a_name_that_does_not_exist_is_seen(name):
    assert problem(name)


def test_log_keys_are_events_and_values_of_ours():
    known = {name for names in documented().values() for name in names} | set(documented()) | {"step"}
    for title in ("Log keys: diffusionLM", "Log keys: The others"):
        assert {name for _, here, _ in sections()[title] for name in here} <= known
