"""Generators by name: one file a system, weights beside the code.

A generator has `sample(points, num, rng)`, which gives (num, 61) hands for one object's points, and
says how many `proposals` it should make for each grasp that is returned. One that `knows_surface`
is also given the points' normals and the object's signed distance, and one that `draws_objects`
which ones a part is taken for. One whose sampling can be tuned has a `sampling_class`, and keeps
its options in `sampling`; one that can `reposition(mano, points)` puts hands of any origin in new
places. Those that are trained are `layers.network.Network`s.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from grasp_gen_core.errors import InputError
from grasp_gen_core.hand import ManoHand

if TYPE_CHECKING:
    from grasp_gen_core.generators.optimiser import Optimiser

WEIGHTS = Path(__file__).with_name("weights")
CLASSES = {
    "grasp_cvae": "GraspCVAE",
    "dvqvae": "DVQVAE",
    "joint_diffusion": "JointDiffusion",
    "fastgrasp": "FastGrasp",
    "jhod": "JHOD",
}
NAMES = (*CLASSES, "optimise")
# Trained and kept like generators, but they make no hands: the file that each stands in, and class.
HELPERS = {
    "contact_net": (".grasp_cvae", "ContactNet"),
    "shape_autoencoder": (".shape_autoencoder", "ShapeAutoencoder"),
    "evaluator": ("..ranking.evaluator", "Evaluator"),
    "exit_depth": ("..completion.exit_depth", "ExitDepth"),
    "volume": ("..completion.volume", "Volume"),
}


def build_generator(name: str, hand: ManoHand, config: dict | None = None) -> nn.Module:
    """A generator, or a helper, with fresh weights.

    Args:
        name: one of CLASSES or HELPERS.
        hand: the right hand it generates.
        config: the system's settings; missing ones take their defaults.

    Raises:
        InputError: if the name or a setting is unknown.
    """
    known = {name: (f".{name}", cls) for name, cls in CLASSES.items()} | HELPERS
    if name not in known:
        raise InputError(f"generator: {name!r}, accepted are {', '.join(known)}")
    file, cls = known[name]
    cls = getattr(import_module(file, __name__), cls)
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in (config or {}).items()}
    try:
        return cls(hand, cls.config_class(**settings))
    except TypeError as error:
        raise InputError(f"generator {name}: {error}") from error


def load_generator(
    name: str | Path, hand: ManoHand, sampling: dict | None = None
) -> nn.Module | Optimiser:
    """A generator that is ready to sample; all but "optimise" are trained networks.

    Args:
        name: one of NAMES, which have shipped weights, or a folder that `save_generator` wrote.
        hand: the right hand it generates.
        sampling: options of the generator's `sampling_class`; missing ones take their defaults.

    Raises:
        InputError: if the name or an option is unknown or the weights are missing or don't fit.
    """
    if name == "optimise":
        from grasp_gen_core.generators.optimiser import Optimiser

        generator = Optimiser(hand)
    elif not hasattr(generator := load_network(name, hand), "sample"):
        accepted = ", ".join(NAMES)
        raise InputError(f"generator: {str(name)!r} makes no hands, accepted are {accepted}")
    if sampling:
        cls = getattr(generator, "sampling_class", None)
        accepted = [field.name for field in fields(cls)] if cls else []
        if unknown := set(sampling) - set(accepted):
            raise InputError(
                f"sampling: {', '.join(sorted(unknown))} unknown to {name}, "
                f"accepted are {', '.join(accepted) or 'none'}"
            )
        generator.sampling = cls(**sampling)
    return generator


def load_network(name: str | Path, hand: ManoHand) -> nn.Module:
    """A trained network, frozen: of CLASSES, of HELPERS, or of a folder by `save_generator`.

    Raises:
        InputError: if the name is unknown or the weights are missing or don't fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    shipped = name in CLASSES or name in HELPERS
    folder = WEIGHTS / name if shipped else Path(name)
    if not shipped and not folder.is_dir():
        raise InputError(
            f"generator: {str(name)!r}, accepted are {', '.join(NAMES)}, and folders of weights"
        )
    try:
        config = json.loads((folder / "config.json").read_text())
        generator = build_generator(config.pop("generator"), hand, config)
        generator.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, SafetensorError, json.JSONDecodeError, RuntimeError) as error:
        raise InputError(f"{folder}: no weights of a generator: {error}") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{folder / 'config.json'}: names no generator") from error
    return generator.to(hand.faces.device).eval().requires_grad_(False)


def load_repositioner(name: str, hand: ManoHand) -> Callable[[Tensor, Tensor], Tensor]:
    """What puts hands (B, 61) about points (N, 3) in new places: a generator's `reposition`.

    Raises:
        InputError: if the name is unknown, or that generator can't.
    """
    generator = load_generator(name, hand)
    if not hasattr(generator, "reposition"):
        raise InputError(f"reposition: {name!r}, accepted are dvqvae, and folders of its weights")
    return generator.reposition


def read_options(text: str) -> tuple[tuple[str, float], ...]:
    """Sampling options as people write them, temperature=0.8,top_k=16, by name.

    Raises:
        InputError: if a name has no number.
    """
    try:
        pairs = (pair.split("=") for pair in text.split(",") if text)
        return tuple((name.strip(), float(value)) for name, value in pairs)
    except ValueError as error:
        raise InputError(
            f"{text!r}, accepted are numbers by name, as in temperature=0.8,top_k=16"
        ) from error


def save_generator(generator: nn.Module, folder: Path) -> None:
    """Write model.safetensors, and config.json with the generator's name and settings."""
    from safetensors.torch import save

    classes = CLASSES | {name: cls for name, (_, cls) in HELPERS.items()}
    name = next(name for name, cls in classes.items() if cls == type(generator).__name__)
    folder.mkdir(parents=True, exist_ok=True)
    state: dict[str, Tensor] = {k: v.contiguous() for k, v in generator.state_dict().items()}
    # Its own writing to a file makes one that only its owner may read.
    (folder / "model.safetensors").write_bytes(save(state))
    config = {"generator": name, **asdict(generator.config)}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
