"""Work that is repeated: as it is called elsewhere, so it is replayed on CUDA."""

import pytest
import torch

from grasp_gen_core import GraspPipeline
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.replay import Replay

DEVICES = ["cpu"]
if torch.cuda.is_available():
    DEVICES.append("cuda")


def fibonacci(device):
    """The pair of numbers that it holds, and what takes it one further and gives the sum so far."""
    pair, total = torch.tensor([0.0, 1.0], device=device), torch.zeros(1, device=device)

    def step():
        pair.copy_(torch.stack([pair[1], pair.sum()]))
        total.add_(pair[0])
        return total * 1

    return pair, Replay(step, torch.device(device))


@pytest.mark.parametrize("device", DEVICES)
def test_each_call_goes_on_from_the_last(device):
    pair, once = fibonacci(device)
    sums = [float(once()) for _ in range(6)]
    assert pair.tolist() == [8, 13] and sums == [1, 2, 4, 7, 12, 20]


@pytest.mark.parametrize("device", DEVICES)
def test_two_take_turns(device):
    (first, once), (second, twice) = fibonacci(device), fibonacci(device)
    for _ in range(4):
        once(), twice(), twice()
    assert first.tolist() == [3, 5] and second.tolist() == [21, 34]


@pytest.mark.parametrize("device", DEVICES)
def test_slopes_are_replayed(device):
    place = torch.tensor([4.0, -2.0], device=device, requires_grad=True)

    def step():
        slope = torch.autograd.grad(place.square().sum(), place)[0]
        with torch.no_grad():
            place.sub_(slope / 4)

    once = Replay(step, place.device)
    for _ in range(3):
        once()
    assert place.tolist() == [0.5, -0.25]


@pytest.mark.skipif(len(DEVICES) == 1, reason="no CUDA device: nothing is captured")
def test_what_fails_while_captured_harms_no_later_one():
    there = torch.ones(1, device="cuda")
    broken = Replay(lambda: float(there), there.device)
    broken()
    with pytest.raises(RuntimeError):
        broken()
    test_each_call_goes_on_from_the_last("cuda")


@pytest.mark.skipif(len(DEVICES) == 1, reason="no CUDA device: nothing is captured")
@pytest.mark.parametrize("refiner", ["quick", "choir_fit"])
def test_grasps_are_those_of_plain_calls(refiner, monkeypatch):
    pipeline, points = GraspPipeline(refiner=refiner, device="cuda"), make_object("can", 5).vertices
    replayed = pipeline(points, num=4)
    monkeypatch.setattr(Replay, "__call__", lambda self: self.function())
    assert (pipeline(points, num=4).mano == replayed.mano).all()


@pytest.mark.skipif(len(DEVICES) == 1, reason="no CUDA device: nothing is captured")
def test_memory_is_used_again():
    pipeline, held = GraspPipeline(device="cuda"), []
    for seed in range(6):
        pipeline(make_object("can", seed).vertices, num=8)
        held.append(torch.cuda.memory_reserved())
    assert held[-1] == held[2]
