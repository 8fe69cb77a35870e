"""A prior of the indices of a hand's codes (DVQ-VAE, Sec. 3.3): a gated PixelCNN over a column."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from grasp_gen_core.stopping import heed

if TYPE_CHECKING:
    from grasp_gen_core.generators.dvqvae import DVQVAEConfig, DVQVAESampling


class GatedPrior(nn.Module):
    """Autoregressive distribution of the hand's indices, given the object's (gated PixelCNN).

    The object's index starts the sequence and is each layer's condition (Sec. 3.3).

    Args:
        parts: indices to draw.
        config: entries of a codebook, sizes.
    """

    def __init__(self, parts: int, config: DVQVAEConfig) -> None:
        super().__init__()
        self.parts, self.entries, width = parts, config.entries, config.prior_width
        self.embedding = nn.Embedding((1 + parts) * self.entries, width)
        self.place = nn.Parameter(0.1 * torch.randn(parts, width))
        self.layers = nn.ModuleList(
            GatedLayer(width, config.prior_dropout) for _ in range(config.prior_layers)
        )
        self.heads = nn.Parameter(torch.randn(parts, width, self.entries) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(parts, self.entries))

    def forward(self, object_index: Tensor, indices: Tensor) -> Tensor:
        """Logits (B, P, entries) of indices 1 to P, from the object's (B,) and those before.

        Args:
            indices: (B, P - 1 or more), P up to `parts`.
        """
        sequence = torch.cat([object_index[:, None], indices], dim=1)[:, : self.parts]
        count = sequence.shape[1]
        offset = self.entries * torch.arange(count, device=sequence.device)
        embedded = self.embedding(sequence + offset)
        condition = embedded[:, 0]
        state = (embedded + self.place[:count]).mT
        for layer in self.layers:
            state = layer(state, condition)
        return torch.einsum("bwp,pwe->bpe", state, self.heads[:count]) + self.bias[:count]

    def loss(self, object_index: Tensor, indices: Tensor) -> Tensor:
        """Mean negative log likelihood of indices (B, parts), nats for each."""
        return functional.cross_entropy(
            self(object_index, indices).flatten(0, 1), indices.flatten()
        )

    def sample(
        self, object_index: Tensor, rng: torch.Generator, sampling: DVQVAESampling
    ) -> Tensor:
        """(B, parts) indices drawn for the objects' (B,), all hands at once."""
        shape = (self.parts, len(object_index), self.entries)
        uniform = torch.rand(shape, generator=rng, dtype=torch.float64).to(object_index.device)
        gumbel = -torch.log(-torch.log(uniform))
        indices, condition = object_index[:, None], self.embedding(object_index)
        before = [condition.new_zeros(*condition.shape, GatedLayer.reach - 1)] * len(self.layers)
        for place, noise in enumerate(gumbel):
            heed()
            last = self.embedding(indices[:, -1] + self.entries * place)
            state = (last + self.place[place])[..., None]
            for number, layer in enumerate(self.layers):
                known, state = state, layer(state, condition, before[number])
                before[number] = torch.cat([before[number][..., 1:], known], dim=2)
            logits = state[..., 0] @ self.heads[place] + self.bias[place]
            logits = logits.double() / sampling.temperature
            if 0 < sampling.top_k < self.entries:
                least = logits.topk(int(sampling.top_k), dim=1).values[:, -1:]
                logits = logits.masked_fill(logits < least, -torch.inf)
            indices = torch.cat([indices, (logits + noise).argmax(dim=1, keepdim=True)], dim=1)
        return indices[:, 1:]


class GatedLayer(nn.Module):
    """Gated causal convolution with a residual (van den Oord et al. 2016, Eq. 4).

    Args:
        width: channels.
        dropout: share of the gated channels that are left out in training.
    """

    reach = 3

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, 2 * width, self.reach)
        self.condition = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Sequential(nn.Dropout(dropout), nn.Conv1d(width, width, 1))

    def forward(self, state: Tensor, condition: Tensor, before: Tensor | None = None) -> Tensor:
        """State (B, width, P), condition (B, width), and where it isn't the beginning the states
        (B, width, 2) of the places before; a place depends on none behind it."""
        if before is None:
            before = state.new_zeros(*condition.shape, self.reach - 1)
        both = self.convolution(torch.cat([before, state], dim=2))
        both = both + self.condition(condition)[..., None]
        value, gate = both.chunk(2, dim=1)
        return state + self.out(torch.tanh(value) * torch.sigmoid(gate))
