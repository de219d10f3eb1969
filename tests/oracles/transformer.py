"""A Transformer by loops, in float64 numpy: the definition that the fast one is compared with.

One token, one head, one key at a time; every formula as its paper writes it. Nothing is shared with hornbook.models but
the names of the weights and of the settings.
"""

import math

import numpy as np


def attention(q, k, v, allowed):
    """q (h, t, e), k and v (k, s, e), allowed(i, j) -> bool; (h, t, e). Query head i reads key head i // (h/k)."""
    n_heads, n_queries, head_dim = q.shape
    group = n_heads // k.shape[0]
    out = np.zeros((n_heads, n_queries, head_dim))
    for head in range(n_heads):
        for i in range(n_queries):
            seen = [j for j in range(k.shape[1]) if allowed(i, j)]
            scores = [float(q[head, i] @ k[head // group, j]) / math.sqrt(head_dim) for j in seen]
            top = max(scores)
            weights = [math.exp(score - top) for score in scores]
            for j, weight in zip(seen, weights, strict=True):
                out[head, i] += weight / sum(weights) * v[head // group, j]
    return out


def rotate(x, position, theta):
    """One head vector (e,) turned by its position: the pair (x[i], x[i + e/2]) by position * theta^(-2i/e)."""
    half = len(x) // 2
    out = np.empty_like(x)
    for i in range(half):
        angle = position * theta ** (-2 * i / len(x))
        out[i] = x[i] * math.cos(angle) - x[i + half] * math.sin(angle)
        out[i + half] = x[i] * math.sin(angle) + x[i + half] * math.cos(angle)
    return out


def sinusoid(position, d_model):
    """PE(p, 2i) = sin(p / 10000^(2i/d)), PE(p, 2i+1) = cos(p / 10000^(2i/d))."""
    out = np.empty(d_model)
    for j in range(d_model):
        angle = position / 10000 ** (2 * (j // 2) / d_model)
        out[j] = math.sin(angle) if j % 2 == 0 else math.cos(angle)
    return out


def rms_norm(x, gain, eps):
    return x / math.sqrt(sum(value**2 for value in x) / len(x) + eps) * gain


def layer_norm(x, gain, bias, eps):
    mean = sum(x) / len(x)
    variance = sum((value - mean) ** 2 for value in x) / len(x)
    return (x - mean) / math.sqrt(variance + eps) * gain + bias


def activation(name, x):
    if name == "swiglu":
        return x / (1 + np.exp(-x))
    if name == "gelu":
        return np.array([value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x])
    if name == "gelu_tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return np.maximum(x, 0) ** (2 if name == "relu2" else 1)


class Oracle:
    """Logits of one row of tokens; `weights` {name: float64 array}, `config` a ModelConfig."""

    def __init__(self, weights, config):
        self.w, self.c = weights, config

    def linear(self, name, x):
        bias = self.w.get(f"{name}.bias")
        return self.w[f"{name}.weight"] @ x + (0 if bias is None else bias)

    def norm(self, name, x):
        if self.c.norm == "rms_norm":
            return rms_norm(x, self.w[f"{name}.weight"], self.c.norm_eps)
        return layer_norm(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias", 0.0), self.c.norm_eps)

    def heads(self, name, xs, positions):
        """(heads, t, e), normalised and turned where the configuration says so."""
        out = np.stack([self.linear(f"{name}_proj", x).reshape(-1, self.c.head_dim) for x in xs], axis=1)
        for head in range(out.shape[0]):
            for i, position in enumerate(positions):
                if self.c.qk_norm and name[-1] in "qk":
                    out[head, i] = rms_norm(out[head, i], self.w[f"{name}_norm.weight"], self.c.norm_eps)
                if self.c.position == "rotary" and name[-1] in "qk":
                    out[head, i] = rotate(out[head, i], position, self.c.rope_theta)
        return out

    def attend(self, name, xs, positions, allowed):
        q, k, v = (self.heads(f"{name}.{letter}", xs, positions) for letter in "qkv")
        mixed = attention(q, k, v, allowed)
        return [self.linear(f"{name}.o_proj", mixed[:, i].reshape(-1)) for i in range(len(xs))]

    def feed_forward(self, name, x):
        up = self.linear(f"{name}.up_proj", x)
        if self.c.feed_forward == "swiglu":
            inner = activation("swiglu", self.linear(f"{name}.gate_proj", x)) * up
        else:
            inner = activation(self.c.feed_forward, up)
        return self.linear(f"{name}.down_proj", inner)

    def embed(self, token, position):
        x = self.w["token_embedding.weight"][token].copy()
        if self.c.scale_embeddings:
            x *= math.sqrt(self.c.d_model)
        if self.c.position == "learned":
            x += self.w["position_embedding.weight"][position]
        if self.c.position == "sinusoidal":
            x += sinusoid(position, self.c.d_model)
        return x

    def logits(self, tokens, positions=None, allowed=lambda i, j: j <= i):
        positions = list(range(len(tokens))) if positions is None else positions
        xs = [self.embed(token, position) for token, position in zip(tokens, positions, strict=True)]
        for n in range(self.c.n_layers):
            one, two = f"layers.{n}.attention", f"layers.{n}.feed_forward"
            if self.c.norm_position == "pre":
                ys = self.attend(one, [self.norm(f"{one}_norm", x) for x in xs], positions, allowed)
                xs = [x + y for x, y in zip(xs, ys, strict=True)]
                xs = [x + self.feed_forward(two, self.norm(f"{two}_norm", x)) for x in xs]
            else:
                ys = self.attend(one, xs, positions, allowed)
                xs = [self.norm(f"{one}_norm", x + y) for x, y in zip(xs, ys, strict=True)]
                xs = [self.norm(f"{two}_norm", x + self.feed_forward(two, x)) for x in xs]
        if self.c.norm_position == "pre":
            xs = [self.norm("norm", x) for x in xs]
        head = self.w["token_embedding.weight" if self.c.tie_embeddings else "head.weight"]
        rows = np.stack([head @ x for x in xs])
        cap = self.c.logit_soft_cap
        return rows if cap is None else cap * np.tanh(rows / cap)
