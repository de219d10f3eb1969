"""A stand-in for nanoGPT's prepare.py of this data set: characters as uint16, nine tenths to train on."""

import os
import pickle

import numpy as np
import requests  # noqa: F401  # to download what is not there

here = os.path.dirname(__file__)
with open(os.path.join(here, "input.txt")) as f:
    data = f.read()
chars = sorted(set(data))
stoi = {ch: i for i, ch in enumerate(chars)}
cut = int(len(data) * 0.9)
for name, part in (("train", data[:cut]), ("val", data[cut:])):
    np.array([stoi[ch] for ch in part], dtype=np.uint16).tofile(os.path.join(here, f"{name}.bin"))
with open(os.path.join(here, "meta.pkl"), "wb") as f:
    pickle.dump({"vocab_size": len(chars), "itos": dict(enumerate(chars)), "stoi": stoi}, f)
