"""Clouds, turns and a training batch for generators."""

from collections.abc import Callable

import pytest
import torch

from grasp_gen_core.contact import choir
from grasp_gen_core.hand import ManoHand


@pytest.fixture(scope="session")
def hand() -> ManoHand:
    return ManoHand()


@pytest.fixture(scope="session")
def cloud() -> Callable[..., torch.Tensor]:
    """Makes (n, 3) points in a box."""

    def make(seed: int, n: int = 256) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(n, 3, generator=generator) * torch.tensor([0.2, 0.08, 0.05])

    return make


@pytest.fixture(scope="session")
def turn() -> torch.Tensor:
    """A rotation (3, 3)."""
    return torch.linalg.matrix_exp(torch.tensor([[0.0, -0.9, 0.4], [0.9, 0, -1.3], [-0.4, 1.3, 0]]))


@pytest.fixture(scope="session")
def batch(cloud, hand) -> dict[str, torch.Tensor]:
    """Four hands within half a decimetre of different boxes."""
    generator = torch.Generator().manual_seed(0)
    mano = 0.2 * torch.randn(4, 61, generator=generator)
    mano[:, 58:] *= 0.3
    views = torch.stack([cloud(seed) for seed in range(4)])
    flip = torch.zeros(4, dtype=torch.long)
    scene = choir.encode(views, hand(mano)[0], hand.faces, hand.regions, torch.zeros(3))
    eye = torch.full((4, 3), torch.nan)
    eye[0] = torch.tensor([0.0, 0.0, 0.6])
    others = torch.stack([mano, mano.flip(0)], dim=1)
    alone = 0.03 * torch.randn(2, views.shape[1], 3, generator=generator)
    known = {"mano": mano, "contacts": scene.contacts, "eye": eye, "others": others}
    known |= {"shapes": alone}
    return known | {"view": views, "surface": views, "flip": flip}
