"""What isn't seen of an object, guessed: one file for each way, all by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grasp_gen_core.completion.belief import PITCH, Belief, Completion, Seen, as_seen, carved
from grasp_gen_core.completion.symmetry import complete_by_symmetry, prolonged
from grasp_gen_core.errors import InputError
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.objects.distance import DistanceGrid

if TYPE_CHECKING:
    from grasp_gen_core.generators.layers.network import Network

GOES_ON = (3.0, 9.0)  # lengths of what is there that a cut object may go on: 1/4, 1/10 is there
NAMES = ("symmetry", "exit_depth", "volume", "jhod", "none")


def get_completion(name: str, hand: ManoHand, generator: Network | None = None) -> Completion:
    """A way to guess what isn't seen.

    Args:
        name: one of NAMES.
        hand: says on which device to work.
        generator: the one that makes the hands: one that draws objects for them to hold draws these
            in any case, and says which, whatever is believed.

    Raises:
        InputError: if the name is unknown.
    """
    if name not in NAMES:
        raise InputError(f"completion: {name!r}, accepted are {', '.join(NAMES)}")
    from grasp_gen_core.completion.backs import ByExitDepth
    from grasp_gen_core.completion.drawn import Drawn
    from grasp_gen_core.completion.volume import ByVolume
    from grasp_gen_core.generators import load_network

    draws = generator is not None and generator.draws_objects
    way = {"symmetry": by_symmetry, "none": as_seen}.get(name)
    if name == "volume":
        way = ByVolume(load_network("volume", hand))
    if name == "exit_depth":
        way = ByExitDepth(load_network("exit_depth", hand), by_symmetry)
    if way and not draws:
        return way
    return Drawn(generator if draws else load_network("jhod", hand), way)


def by_symmetry(seen: Seen, seed: int) -> Belief:
    """What was seen, and what its symmetry adds behind, where no camera saw that it isn't.

    What is cut off in a plane may go on as well.
    """
    known = as_seen(seen, seed).field
    whole, whole_normals = complete_by_symmetry(seen.points, seen.normals)
    guesses = prolonged(seen.points, seen.normals, GOES_ON) if seen.eye is None else []
    if len(whole) == len(seen.points) and not guesses:
        return Belief(known)
    several = [
        DistanceGrid.from_cloud(*guess, pitch=PITCH)
        for guess in [*guesses[::-1], (whole, whole_normals)]
    ]
    guessed = several[0].beside(several[1:]) if guesses else several[0]
    return Belief(carved(guessed, seen).union(known))
