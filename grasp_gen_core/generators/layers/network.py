"""What all trained generators are."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from grasp_gen_core.errors import InputError
from grasp_gen_core.hand import ManoHand


class Network(nn.Module):
    """A network with a hand whose parameters it generates, and its own settings.

    Args:
        hand: the right hand.
        config: a `config_class`; None takes its defaults.
    """

    proposals = 8
    knows_surface = draws_objects = False
    config_class: ClassVar[type]
    sampling_class: ClassVar[type | None] = None  # of options that a user may set
    # Of a system whose parts are trained one after another: the parts of each stage, by name.
    stages: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __init__(self, hand: ManoHand, config: Any = None) -> None:
        super().__init__()
        self.config = config or self.config_class()
        self.sampling = self.sampling_class() if self.sampling_class else None
        self._hand = [hand]  # in a list: the hand's tables are no weights of this network

    @property
    def hand(self) -> ManoHand:
        return self._hand[0]

    def begin(self, stage: str) -> None:
        """From now on `loss` is this stage's, its parts are trained and all others frozen.

        Raises:
            InputError: if there is no such stage.
        """
        if stage not in self.stages:
            raise InputError(f"stages: {stage!r}, accepted are {', '.join(self.stages) or 'none'}")
        self.stage = stage
        for name, part in self.named_children():
            part.requires_grad_(name in self.stages[stage]).train(name in self.stages[stage])
