"""Fully connected layers."""

from torch import nn


def mlp(inside: int, hidden: tuple[int, ...], outside: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inside, width), nn.ReLU()]
        inside = width
    return nn.Sequential(*layers, nn.Linear(inside, outside))
