"""Times of a diffusion as networks take them in."""

import torch
from torch import Tensor


def sinusoids(time: Tensor, width: int) -> Tensor:
    """(B, width) sines and cosines of times (B,)."""
    rates = torch.exp(torch.linspace(0, -9.2, width // 2, device=time.device))
    phase = time[:, None] * rates
    return torch.cat([phase.sin(), phase.cos()], dim=1)
