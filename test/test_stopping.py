"""Work that is to stop does so wherever it is, and work that isn't goes on."""

import threading
from concurrent.futures import CancelledError

import numpy as np
import pytest
import torch
import trimesh

from grasp_gen_core.completion import get_completion
from grasp_gen_core.completion.belief import Seen
from grasp_gen_core.generators import load_generator
from grasp_gen_core.generators.layers.schedules import sample
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.distance import DistanceGrid
from grasp_gen_core.objects.sampling import sample_surface
from grasp_gen_core.refiners import get_refiner
from grasp_gen_core.stopping import heed, stopped_by


@pytest.fixture(scope="module")
def hand() -> ManoHand:
    return ManoHand()


@pytest.fixture(scope="module")
def ball() -> tuple[np.ndarray, np.ndarray, DistanceGrid]:
    """Points and normals all around, and the distance."""
    mesh = trimesh.creation.icosphere(3, 0.04)
    return *sample_surface(mesh, 512), DistanceGrid.from_mesh(mesh)


class Stop:
    """Says yes from some question on."""

    def __init__(self, after: float) -> None:
        self.after, self.asked = after, 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked > self.after


def test_who_is_asked():
    heed()
    with stopped_by(lambda: True):
        with stopped_by(lambda: False):
            heed()
        with stopped_by(None), pytest.raises(CancelledError):
            heed()
        other = threading.Thread(target=heed)  # somebody else's work
        other.start()
        other.join()
    heed()


def test_a_sampler_takes_no_step_more():
    steps = []

    def predict(state, time):
        steps.append(int(time[0]))
        return state

    with pytest.raises(CancelledError), stopped_by(Stop(after=3)):
        sample(predict, torch.zeros(2, 5), 20)
    assert len(steps) == 3


@pytest.mark.parametrize("name", ["dvqvae", "joint_diffusion", "fastgrasp", "jhod", "optimise"])
def test_generators_ask_now_and_then(hand, ball, name):
    points, normals, grid = ball
    cloud, outward = (torch.from_numpy(one).float() for one in (points, normals))
    generator = load_generator(name, hand)
    given = (outward, grid) if generator.knows_surface else ()

    def propose(stop: Stop) -> None:
        with stopped_by(stop), torch.no_grad():
            generator.sample(cloud, 4, torch.Generator().manual_seed(0), *given)

    propose(whole := Stop(after=torch.inf))
    assert whole.asked > 5
    with pytest.raises(CancelledError):
        propose(half := Stop(after=whole.asked // 2))
    assert half.asked == whole.asked // 2 + 1


@pytest.mark.parametrize("name", ["quick", "choir_fit", "choir"])
def test_refiners_ask_before_each_step(hand, ball, name):
    points, _, grid = ball
    with pytest.raises(CancelledError), stopped_by(stop := Stop(after=4)):
        get_refiner(name, hand)(torch.zeros(1, 61), torch.from_numpy(points).float(), grid)
    assert stop.asked == 5


def test_drawing_what_is_not_seen_ends(hand, ball):
    points, normals, _ = ball
    half = points[:, 2] > 0
    drawn = get_completion("jhod", hand)
    seen = Seen(*(one[half].astype(np.float32) for one in (points, normals)))
    with stopped_by(whole := Stop(after=torch.inf)):
        drawn(seen, 0)
    steps, shapes = int(drawn.network.sampling.steps), 8
    assert whole.asked >= steps + 2 * shapes  # each is meshed, and measured
    with pytest.raises(CancelledError), stopped_by(Stop(after=whole.asked - 1)):
        drawn(seen, 0)
