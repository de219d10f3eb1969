"""What other programs call our settings, so that a key from their files is answered with ours.

Spelling alone misleads here: `block_size` looks like `vocab_size`, and `batch_size` like a key of [eval].
"""

OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "model.context_length": (
        *("block_size", "seq_len", "seq_length", "sequence_length", "max_seq_len", "max_seq_length"),
        *("n_ctx", "n_positions", "max_position_embeddings", "context_size", "context_window"),
    ),
    "model.d_model": ("n_embd", "n_embed", "dim", "d_embed", "embed_dim", "embedding_dim", "hidden_size", "hidden_dim"),
    "model.n_layers": ("n_layer", "num_layers", "num_hidden_layers"),
    "model.n_heads": ("n_head", "num_heads", "num_attention_heads"),
    "model.n_kv_heads": ("num_kv_heads", "num_key_value_heads"),
    "model.d_ff": ("intermediate_size", "ffn_dim", "n_inner", "mlp_dim"),
    "model.rope_theta": ("rope_base",),
    "model.tie_embeddings": ("tie_word_embeddings", "weight_tying", "tied_embeddings"),
    "model.norm_eps": ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"),
    "model.logit_soft_cap": ("logit_softcap", "final_logit_softcapping"),
    "optim.learning_rate": ("lr", "max_lr", "peak_lr"),
    "optim.betas": ("beta1", "beta2", "adam_beta1", "adam_beta2"),
    "optim.clip_grad_norm": ("grad_clip", "clip_grad", "max_grad_norm", "gradient_clip_val", "gradient_clipping"),
    "schedule.kind": ("lr_scheduler", "lr_scheduler_type", "scheduler"),
    "schedule.warmup_steps": ("warmup", "warmup_iters", "num_warmup_steps"),
    "schedule.final_fraction": ("min_lr", "min_lr_ratio", "min_ratio"),
    "train.steps": (
        *("max_steps", "max_iters", "n_steps", "num_steps", "num_iterations", "iterations", "total_steps"),
        *("epochs", "n_epochs", "num_epochs", "num_train_epochs"),
    ),
    "train.micro_batch_size": ("batch_size", "per_device_train_batch_size", "device_batch_size"),
    "train.tokens_per_step": (
        *("gradient_accumulation_steps", "grad_accum_steps", "accumulation_steps", "accumulate_grad_batches"),
        *("total_batch_size", "global_batch_size"),
    ),
    "train.precision": ("dtype", "mixed_precision", "bf16", "fp16"),
    "train.activation_checkpointing": ("gradient_checkpointing",),
    "train.log_every": ("log_interval", "logging_steps"),
    "train.eval_every": ("eval_interval", "eval_steps"),
    "train.sample_every": ("sample_interval",),
    "checkpoint.full_every": ("save_every", "save_interval", "save_steps", "checkpoint_every", "checkpoint_interval"),
    "checkpoint.full_keep": ("save_total_limit",),
    "data.loader_threads": ("num_workers", "dataloader_num_workers"),
    "objective.label_smoothing": ("label_smoothing_factor",),
    "objective.z_loss": ("z_loss_weight", "z_loss_coefficient"),
    "lora.rank": ("lora_r", "lora_rank"),
    "lora.alpha": ("lora_alpha",),
    "lora.targets": ("target_modules",),
    "lora.also_train": ("modules_to_save",),
    "generate.max_new_tokens": ("max_tokens", "max_gen_len", "num_tokens"),
}
"""Our key -> what others call it."""

OURS = {name: key for key, names in OTHER_NAMES.items() for name in names}
"""Another program's name -> our key."""
