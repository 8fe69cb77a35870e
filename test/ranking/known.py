"""An object whose distance is known, for tests of what ranks."""

import torch


class Known:
    """Distance to one object by a function of points."""

    def __init__(self, distance, middle=(0.0, 0.0, 0.0)):
        self.distance, self._middle = distance, torch.as_tensor(middle)

    def __call__(self, points):
        return self.distance(points)

    def each(self, points):
        return self.distance(points)[None]

    def middle(self):
        return self._middle
