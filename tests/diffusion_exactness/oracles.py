"""What is right, by enumeration: all masks, all orders, all texts. Slow and plain."""

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffusion_exactness.adapter import Sampling
from diffusion_exactness.toys import Toy

Text = tuple[int, ...]
Distribution = dict[Text, float]


# Likelihood: three roads to one number.


def surprise(toy: Toy, text: Text, subset: Sequence[int], unseen: Sequence[int] = ()) -> float:
    """Sum of nll of the hidden tokens `subset`, in nats, where those at `unseen` are not there."""
    nll = toy.nll(text, tuple(place in subset or place in unseen for place in range(toy.length)))
    return math.fsum(nll[place] for place in subset)


def by_counts(toy: Toy, text: Text, places: Sequence[int], unseen: Sequence[int] = ()) -> float:
    """E_k [L / k * nll of k hidden ones], k uniform on 1..L and the k-subset uniform."""
    n = len(places)
    return math.fsum(
        surprise(toy, text, subset, unseen) / k / math.comb(n, k)
        for k in range(1, n + 1)
        for subset in itertools.combinations(places, k)
    )


def by_orders(toy: Toy, text: Text, places: Sequence[int], unseen: Sequence[int] = ()) -> float:
    """The chain rule's nll, averaged over all L! orders of naming the tokens."""
    total = 0.0
    for order in itertools.permutations(places):
        for named in range(len(order)):
            hidden = tuple(place in order[named:] or place in unseen for place in range(toy.length))
            total += toy.nll(text, hidden)[order[named]]
    return total / math.factorial(len(places))


def at_probability(toy: Toy, text: Text, places: Sequence[int], p: float, unseen: Sequence[int] = ()) -> float:
    """E [1 / p * nll], each of the places hidden with probability p."""
    n = len(places)
    return math.fsum(
        p ** (k - 1) * (1 - p) ** (n - k) * surprise(toy, text, subset, unseen)
        for k in range(1, n + 1)
        for subset in itertools.combinations(places, k)
    )


def by_probability(
    toy: Toy, text: Text, places: Sequence[int], unseen: Sequence[int] = (), *, low: float = 0.0
) -> float:
    """The mean of `at_probability` over p in [low, 1]: a polynomial of degree L - 1, so Gauss-Legendre is exact."""
    nodes, weights = np.polynomial.legendre.leggauss(len(places) // 2 + 1)
    p = low + (1.0 - low) * (nodes + 1) / 2
    return math.fsum(w / 2 * at_probability(toy, text, places, q, unseen) for w, q in zip(weights, p, strict=True))


def blocks(length: int, block_length: int | None) -> list[tuple[range, range]]:
    """(places, unseen) of each block: a block diffusion model sees no later one; (all, none) without blocks."""
    size = block_length or length
    return [(range(at, min(at + size, length)), range(min(at + size, length), length)) for at in range(0, length, size)]


# Sampling: the whole distribution, state by state.


@dataclass(frozen=True)
class Sampler:
    """The semi-autoregressive sampler, by enumeration of everything that it may draw."""

    toy: Toy
    sampling: Sampling

    def distribution(self, prompt: Text) -> Distribution:
        """p of every continuation."""
        settings, mask = self.sampling, self.toy.mask_id
        texts: Distribution = {prompt + (mask,) * settings.new_tokens: 1.0}
        end, size = len(prompt) + settings.new_tokens, settings.block_length
        first = len(prompt) // size * size if settings.is_block_causal else len(prompt)
        for start in range(first, end, size):
            block = range(max(start, len(prompt)), min(start + size, end))
            steps = len(block) if settings.steps is None else settings.steps * len(block) // settings.new_tokens
            for count in transfer_counts(len(block), steps):
                texts = self._step(texts, block, count, len(prompt))
        return {text[len(prompt) :]: p for text, p in texts.items()}

    def _step(self, texts: Distribution, block: range, count: int, n_prompt: int) -> Distribution:
        after: Distribution = defaultdict(float)
        for text, p in texts.items():
            masked = [place for place in block if text[place] == self.toy.mask_id]
            if not masked:
                after[text] += p
                continue
            logits = self.guided(text, n_prompt)[masked]
            drawn = _softmax(logits, self.sampling.temperature)
            sure = _softmax(logits, 1.0)
            for tokens in itertools.product(range(self.toy.vocab), repeat=len(masked)):
                chance = p * math.prod(drawn[row, token] for row, token in enumerate(tokens))
                if chance:
                    for kept, share in self._kept(sure, tokens, count):
                        own = list(text)
                        for row in kept:
                            own[masked[row]] = tokens[row]
                        after[tuple(own)] += chance * share
        return after

    def _kept(self, sure: np.ndarray, tokens: Text, count: int) -> list[tuple[tuple[int, ...], float]]:
        """Which rows a step may keep, and how probably."""
        rows = range(len(tokens))
        if self.sampling.remasking == "random":
            subsets = list(itertools.combinations(rows, count))
            return [(subset, 1 / len(subsets)) for subset in subsets]
        confidence = confidences(self.sampling.remasking, sure, tokens)
        order = sorted(rows, key=lambda row: -confidence[row])
        if self.sampling.confidence_threshold is not None:
            count = max(1, sum(confidence[row] >= self.sampling.confidence_threshold for row in rows))
        return [(tuple(order[:count]), 1.0)]

    def guided(self, text: Text, n_prompt: int) -> np.ndarray:
        """Logits of the tokens, the mask token left out, moved away from those without the prompt."""
        logits = self.toy.logits(np.array(text))[:, : self.toy.vocab]
        if not self.sampling.guidance_scale:
            return logits
        unconditional = self.toy.logits(np.array((self.toy.mask_id,) * n_prompt + text[n_prompt:]))[:, : self.toy.vocab]
        return unconditional + (self.sampling.guidance_scale + 1) * (logits - unconditional)


def confidences(remasking: str, sure: np.ndarray, tokens: Text) -> list[float]:
    """Of the drawn tokens, from the model's own distributions, which temperature does not touch."""
    ordered = np.sort(sure, axis=1)
    match remasking:
        case "low_confidence":
            return [float(sure[row, token]) for row, token in enumerate(tokens)]
        case "margin":
            return list(ordered[:, -1] - ordered[:, -2])
        case "entropy":
            return list((sure * np.log(sure)).sum(axis=1))
    raise AssertionError(remasking)


def transfer_counts(masked: int, steps: int) -> list[int]:
    """How many tokens each step keeps: masked // steps, and one more in the first masked % steps."""
    base, extra = divmod(masked, steps)
    return [base + (step < extra) for step in range(steps)]


def ancestral(toy: Toy, prompt: Text, new_tokens: int) -> Distribution:
    """p of every continuation, tokens drawn one by one in a uniformly random order."""
    places = range(len(prompt), len(prompt) + new_tokens)
    orders = list(itertools.permutations(places))
    total: Distribution = defaultdict(float)
    for tokens in itertools.product(range(toy.vocab), repeat=new_tokens):
        text = prompt + tokens
        for order in orders:
            p = 1.0
            for named in range(new_tokens):
                hidden = tuple(place in order[named:] or place >= len(text) for place in range(toy.length))
                full = text + (0,) * (toy.length - len(text))
                p *= math.exp(-toy.nll(full, hidden)[order[named]])
            total[tokens] += p / len(orders)
    return total


def fill_left_to_right(toy: Toy, prompt: Text, new_tokens: int) -> Text:
    """The loop that puts the likeliest token into the first mask until there is none."""
    text = list(prompt) + [toy.mask_id] * new_tokens
    for place in range(len(prompt), len(text)):
        text[place] = int(toy.logits(np.array(text))[place, : toy.vocab].argmax())
    return tuple(text[len(prompt) :])


def _softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    if temperature == 0.0:
        return np.eye(logits.shape[1])[logits.argmax(axis=1)]
    scaled = (logits - logits.max(axis=1, keepdims=True)) / temperature
    weights = np.exp(scaled)
    return weights / weights.sum(axis=1, keepdims=True)
