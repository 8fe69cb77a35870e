"""Contact on what was seen: a plate of whose surface only a part was."""

import pytest
import torch

from grasp_gen_core.metrics.contact_seen import contact_seen


def test_it_is_the_share_of_touching_vertices_over_the_seen_part():
    across = torch.linspace(-0.05, 0.05, 101)
    plate = torch.stack(torch.meshgrid(across, across, indexing="ij"), dim=-1).flatten(0, 1)
    vertices = torch.cat([plate, torch.full((len(plate), 1), 0.003)], dim=1)[None]
    high = vertices + torch.tensor([0.0, 0.0, 0.01])
    both = torch.cat([vertices, high])
    # Seen to x = 0.02 where the contact begins at x = -0.05.
    points = torch.cat([plate[plate[:, 0] <= 0.02], torch.zeros(7171, 1)], dim=1)
    found = contact_seen(both[..., 2], both, points)
    # A vertex 3 mm above the plate is within 9 mm of points up to 8.5 mm beside it.
    assert float(found[0]) == pytest.approx((0.07 + 0.0085) / 0.1, abs=0.01)
    assert float(found[1]) == 0
    assert contact_seen(both[:1, :, 2], both[:1], torch.cat([plate, plate[:, :1] * 0], 1)) == 1
