"""The yardstick of diffusion decoding: LLaDA's sampler as its paper gives it, with nothing kept from step to step.

Every step reads the whole sequence (prompt, finished blocks, masks) and computes the logits of every position, then
keeps the surest of the open block's tokens. Nie et al., 2025, https://arxiv.org/abs/2502.09992, algorithm 5.
"""

from collections.abc import Sequence

import torch

from hornbook.models.masks import FULL, AttentionMask
from hornbook.models.transformer import Transformer


@torch.inference_mode()
def full_sequence_loop(
    model: Transformer,
    prompt: Sequence[int],
    *,
    new_tokens: int,
    block_length: int,
    denoise_steps: int,
    mask_id: int,
    vocab_size: int,
    mask: AttentionMask = FULL,
    most_steps: int | None = None,
) -> list[int]:
    """The new tokens, greedily, those that are least sure masked again; mask_id where `most_steps` ended it early.

    `new_tokens` is a multiple of `block_length`, and `denoise_steps` shares out evenly among the blocks and their
    tokens. Ids from `vocab_size` on are never taken, nor is the mask.
    """
    n_blocks = new_tokens // block_length
    a_step = new_tokens // denoise_steps
    assert n_blocks * block_length == new_tokens
    assert a_step * denoise_steps == new_tokens
    assert block_length % a_step == 0
    device = model.token_embedding.weight.device
    tokens = torch.full((1, len(prompt) + new_tokens), mask_id, device=device)
    tokens[0, : len(prompt)] = torch.tensor(prompt, device=device)
    is_open = torch.arange(tokens.shape[1], device=device) >= len(prompt)
    steps_left = denoise_steps if most_steps is None else most_steps
    for start in range(len(prompt), tokens.shape[1], block_length):
        for _ in range(block_length // a_step):
            if steps_left == 0:
                break
            steps_left -= 1
            logits = model(tokens, mask=mask)[0]
            logits[:, mask_id] = -torch.inf
            logits[:, vocab_size:] = -torch.inf
            confidence, drawn = logits.softmax(dim=-1).max(dim=-1)
            confidence[~is_open] = -1.0
            confidence[start + block_length :] = -1.0
            kept = confidence.topk(a_step).indices
            tokens[0, kept] = drawn[kept]
            is_open[kept] = False
    return [int(token) for token in tokens[0, len(prompt) :]]
