"""What tuning asks of other tables: each wrong combination is one message that says what would be right."""

import pytest

from hornbook.config.load import load_config
from hornbook.errors import ConfigError

SFT = {"data.stage": "sft"}
DIFFUSION = {"objective.kind": "masked_diffusion"}
DPO = {"data.stage": "dpo", "objective.kind": "preference"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data.stage": "dpo"}, r'data.stage = "dpo" with objective.kind = "next_token".*set both'),
        (SFT | {"objective.kind": "preference"}, r'data.stage = "sft" with objective.kind = "preference"'),
        ({"train.sequences_per_step": 8}, r"sequences_per_step = 8 counts rows of tuning data.*tokens_per_step"),
        (
            SFT | {"train.sequences_per_step": 8, "train.tokens_per_step": 4096},
            r"sequences_per_step = 8 takes the place of train.tokens_per_step = 4096; .*16384 takes back",
        ),
        (
            SFT | {"train.sequences_per_step": 9, "train.micro_batch_size": 4},
            r"train.sequences_per_step = 9 is not a multiple of train.micro_batch_size = 4; nearest: 8 or 12",
        ),
        ({"objective.normalize": "sequence"}, r'normalize = "sequence" has no effect with data.stage = "pretrain"'),
        (DPO | {"objective.normalize": "sequence"}, r'no effect with objective.kind = "preference".*objective.average'),
        (
            {"data.tuning.packing": False, "data.tuning.train_on": "last"},
            r"data.tuning.train_on, data.tuning.packing have no effect with data.stage = \"pretrain\"",
        ),
        ({"chat.system": "be kind"}, r"chat.system has no effect with data.stage = \"pretrain\""),
        (SFT | {"data.stride": 8}, r"data.stride = 8 has no effect"),
        (SFT | {"data.mixture": ["a", "b"], "data.weights": [1.0, 1.0]}, r"tuning reads one data set"),
        (SFT | {"data.tuning.answer_padding": 3}, r'answer_padding = 3 .* "next_token": only masked diffusion'),
        (SFT | DIFFUSION | {"data.tuning.answer_padding": "row"}, r"packing = true puts several into it"),
        (
            SFT | {"objective.kind": "block_diffusion"},
            r"packing = true with objective.kind = \"block_diffusion\": blocks are counted.*set packing = false",
        ),
        (SFT | DIFFUSION | {"objective.truncation_probability": 0.5}, r"conversations are whole; leave it out"),
    ],
)
def test_messages(values, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, values=values)


@pytest.mark.parametrize(
    ("values", "rows", "positions"),
    [
        ({}, 16_384 // 256, 16_384),
        (SFT, 16_384 // 256, 16_384),
        (SFT | {"train.sequences_per_step": 24}, 24, 24 * 256),
        (DPO | {"train.sequences_per_step": 24}, 24, 2 * 24 * 256),
    ],
)
def test_what_a_step_takes(values, rows, positions):
    config = load_config(None, values={"model.context_length": 256, **values}).config
    assert (config.rows_per_step, config.positions_per_step) == (rows, positions)


def test_what_is_right_is_taken():
    padded = {"data.tuning.answer_padding": "row", "data.tuning.packing": False}
    load_config(None, values=SFT | {"objective.kind": "block_diffusion"} | padded)
    load_config(None, values=SFT | DIFFUSION | {"data.tuning.answer_padding": 4, "objective.normalize": "sequence"})
    load_config(None, values=SFT | {"objective.kind": "joint"})
