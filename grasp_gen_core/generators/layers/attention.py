"""Attention over sets of rows, with residuals (pre-norm transformer)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Rows learn from a source, with a residual.

    Args:
        width: of all rows.
        heads: of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_source = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asks, self.known = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.answer = nn.Linear(width, width)

    def forward(self, rows: Tensor, source: Tensor) -> Tensor:
        """(B, R, width) of rows (B, R, width) that attend to a source (B, S, width)."""
        return rows + self.look(self.norm(rows), source)

    def look(self, asking: Tensor, source: Tensor) -> Tensor:
        """What normalised rows find in a source."""
        asks = self._by_head(self.asks(asking))
        known, told = self.known(self.norm_source(source)).chunk(2, dim=-1)
        # In bfloat16 its gradient takes many times as long on a CPU.
        with torch.autocast(source.device.type, enabled=False):
            found = functional.scaled_dot_product_attention(
                asks, self._by_head(known), self._by_head(told)
            )
        return self.answer(found.transpose(1, 2).flatten(2))

    def _by_head(self, rows: Tensor) -> Tensor:
        return rows.float().unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Attention, then an MLP, each with a residual.

    Args:
        width: of all rows.
        heads: of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, rows: Tensor, source: Tensor) -> Tensor:
        """(B, R, width) of rows (B, R, width) that attend to a source (B, S, width)."""
        rows = self.attention(rows, source)
        return rows + self.layers(rows)


class TimedBlock(nn.Module):
    """A block whose rows are scaled, shifted and gated by what their time says (adaLN-zero of DiT,
    Peebles and Xie 2023).

    Args:
        width: of all rows.
        heads: of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.when = zeroed(nn.Linear(width, 6 * width))

    def forward(self, rows: Tensor, source: Tensor, when: Tensor) -> Tensor:
        """(B, R, width) of rows (B, R, width) that attend to a source (B, S, width).

        Args:
            rows, source: see above.
            when: (B, R or 1, width) of their times.
        """
        parts = self.when(functional.silu(when)).chunk(6, dim=-1)
        asking = self.attention.norm(rows) * (1 + parts[0]) + parts[1]
        rows = rows + parts[2] * self.attention.look(asking, source)
        return rows + parts[5] * self.layers(self.norm(rows) * (1 + parts[3]) + parts[4])


class Known(NamedTuple):
    """An object of which all is known.

    Attributes:
        latent: (B, K, C).
        rows: (B, K, W) what hands ask in each layer.
    """

    latent: Tensor
    rows: list[Tensor]


class JointLayer(nn.Module):
    """What a layer of JHOD's denoiser makes of the object's rows, and of the hand's.

    Args:
        width: of all rows.
        heads: of the attentions.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.view, self.object = Attention(width, heads), TimedBlock(width, heads)
        self.hand = TimedBlock(width, heads)

    def of_object(self, rows: Tensor, source: Tensor, context: Tensor, when: Tensor) -> Tensor:
        """(B, K, W) of rows (B, K, W) that ask a source (B, R, W) and a context (B, S, W)."""
        return self.object(self.view(rows, context), source, when)


class TimedOut(nn.Module):
    """From rows to what a network says, nothing at first.

    A share of the noisy sample goes past the rows, as the time has it: they need not carry its
    noise through, and few steps teach what many would.

    Args:
        width: of the rows.
        outside: numbers of each.
    """

    def __init__(self, width: int, outside: int) -> None:
        super().__init__()
        self.norm, self.out = nn.LayerNorm(width), zeroed(nn.Linear(width, outside))
        self.when, self.share = (zeroed(nn.Linear(width, n)) for n in (2 * width, 1))

    def forward(self, rows: Tensor, when: Tensor, state: Tensor) -> Tensor:
        """(B, R, outside) of rows (B, R, width).

        Args:
            rows: see above.
            when: (B, R or 1, width) of their times.
            state: (B, R, outside) the noisy sample that the rows are of.
        """
        when = functional.silu(when)
        scale, shift = self.when(when).chunk(2, dim=-1)
        return self.out(self.norm(rows) * (1 + scale) + shift) + self.share(when) * state


def zeroed(layer: nn.Linear) -> nn.Linear:
    """The layer, saying nothing yet."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def blocks(count: int, width: int, heads: int) -> nn.ModuleList:
    """So many blocks."""
    return nn.ModuleList(Block(width, heads) for _ in range(count))
