"""A stand-in for nanoGPT's train.py: its arguments, what it prints and what it leaves, written anew for the tests."""

import os
import pickle
import time

import numpy as np
import torch
from model import GPT, GPTConfig

out_dir = "out"
eval_interval = 2000
eval_iters = 200
log_interval = 1
always_save_checkpoint = True
dataset = "openwebtext"
batch_size = 12
block_size = 1024
n_layer = 12
n_head = 12
n_embd = 768
dropout = 0.0
bias = False
learning_rate = 6e-4
max_iters = 600000
lr_decay_iters = 600000
device = "cuda"
compile = True
exec(open("configurator.py").read())

seed_offset = 0
os.makedirs(out_dir, exist_ok=True)
torch.manual_seed(1337 + seed_offset)
data_dir = os.path.join("data", dataset)


def get_batch(split):
    data = np.fromfile(os.path.join(data_dir, f"{split}.bin"), dtype=np.uint16).astype(np.int64)
    ix = torch.randint(len(data) - block_size, (batch_size,))
    rows = torch.stack([torch.from_numpy(data[i : i + block_size + 1]) for i in ix])
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


with open(os.path.join(data_dir, "meta.pkl"), "rb") as f:
    vocab_size = pickle.load(f)["vocab_size"]
model_args = {
    "n_layer": n_layer,
    "n_head": n_head,
    "n_embd": n_embd,
    "block_size": block_size,
    "bias": bias,
    "vocab_size": vocab_size,
    "dropout": dropout,
}
model = GPT(GPTConfig(**model_args))
optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
iter_num = 0
t0 = time.time()
while True:
    if iter_num % eval_interval == 0:
        print(f"step {iter_num}: train loss 4.0000, val loss {model(*get_batch('val'))[1].item():.4f}")
        if iter_num > 0 and always_save_checkpoint:
            torch.save({"model": model.state_dict(), "model_args": model_args}, os.path.join(out_dir, "ckpt.pt"))
    loss = model(*get_batch("train"))[1]
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    t1 = time.time()
    if iter_num % log_interval == 0:
        print(f"iter {iter_num}: loss {loss.item():.4f}, time {(t1 - t0) * 1000:.2f}ms, mfu -100.00%")
    t0 = t1
    iter_num += 1
    if iter_num > max_iters:
        break
