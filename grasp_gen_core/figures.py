"""Figures of an evaluation: distributions by object, the high-quality curve, pictures of grasps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from grasp_gen_core.errors import InputError
from grasp_gen_core.metrics.high_quality_ratio import high_quality_ratio
from grasp_gen_core.render import Cell, hand_axes, orbit, smooth, touching_parts, write_sheet

if TYPE_CHECKING:
    from grasp_gen_core.evaluation import Measured

DISTRIBUTIONS = {
    "penetration_volume_cm3": "penetration volume [cm³]",
    "penetration_depth_cm": "penetration depth [cm]",
    "sim_displacement_cm": "displacement in simulation [cm]",
    "hold_worst_axis_cm": "displacement over the worst axis [cm]",
    "contact_fingers": "fingers in contact",
}
NAMED = (  # the pictures' font knows no raised 3
    ("penetration_volume_cm3", "volume", "cm^3"),
    ("sim_displacement_cm", "displacement", "cm"),
)
TAIL = 10  # times the median, beyond which an axis turns logarithmic
INK, FILL, GRID = "#46525e", "#78a0cc", "#dfe3e8"
TILE, NAME = 200, 48  # pixels; letters of an object's name that fit above two tiles
EDGE = 0.006  # metres, longest edge of a drawn object


def plot_results(results: dict, folder: str | Path) -> list[Path]:
    """Write a PNG for each main metric, by object, and `high_quality_ratio.png`.

    Grasps whose number is missing or None are left out, and counted beside the object's name;
    metrics without any number make no figure.

    Args:
        results: as `results.json` holds them.
        folder: existing folder to write to.

    Returns:
        The files written.

    Raises:
        InputError: if there are no grasps, or the folder can't be written to.
    """
    rows = results["per_grasp"]
    if not rows:
        raise InputError("results: per_grasp is empty, at least one grasp is needed to plot")
    objects = list(dict.fromkeys(row["object"] for row in rows))
    values = {
        metric: [
            np.array([row.get(metric) for row in rows if row["object"] == name], dtype=float)
            for name in objects
        ]
        for metric in DISTRIBUTIONS
    }
    written = []
    for metric, label in DISTRIBUTIONS.items():
        if np.isfinite(np.concatenate(values[metric])).any():
            figure = _distribution(objects, values[metric], label)
            written.append(_save(figure, Path(folder) / f"{metric}.png"))
    volumes, displacements = values["penetration_volume_cm3"], values["sim_displacement_cm"]
    both = np.concatenate(volumes) + np.concatenate(displacements)
    if np.isfinite(both).any():
        figure = _quality(objects, volumes, displacements)
        written.append(_save(figure, Path(folder) / "high_quality_ratio.png"))
    return written


def contact_sheet(objects: Sequence[Measured], path: str | Path, count: int = 4) -> None:
    """Write pictures of an evaluation's grasps as PNG: a row for each object.

    Each grasp is seen from the back of the hand and from the thumb's side, the object's z axis up,
    coloured where hand and object are near each other; above it its volume and displacement.

    Args:
        objects: what was measured.
        path: PNG file to write.
        count: grasps of each object, the first ones, at most.

    Raises:
        InputError: if there's no object, count is below 1, or path can't be written.
    """
    if not objects or count < 1:
        raise InputError(
            f"contact sheet: {len(objects)} objects, {count} grasps of each, accepted are 1 or more"
        )
    rows = []
    for one in objects:
        body, hands, cells = smooth(one.mesh, EDGE), one.hands, []
        for i, axes in enumerate(hand_axes(hands.joints[:count])):
            parts = touching_parts(hands.vertices[i], hands.faces, body)
            cells.append(Cell(_label(one, i), parts, orbit(axes)[:2]))
        rows.append(cells)
    write_sheet(rows, path, TILE)


def _label(one: Measured, index: int) -> str:
    """A grasp's number and measures, those there are; above the first one's the object's name."""
    words = [f"#{index + 1}"]
    for metric, name, unit in NAMED:
        value = one.numbers[metric][index] if metric in one.numbers else np.nan
        if np.isfinite(value):
            words.append(f"{name} {value:.2f} {unit}")
    return (one.name[:NAME] if index == 0 else "") + "\n" + "  ".join(words)


def _distribution(objects: list[str], values: list[np.ndarray], label: str):
    """Boxes (quartiles, whiskers to the 5th and 95th percentile) and every grasp, by object."""
    figure, axes = _axes(height=1.1 + 0.42 * len(objects))
    # The first object on top.
    heights = np.arange(len(objects))[::-1]
    finite = [v[np.isfinite(v)] for v in values]
    axes.boxplot(
        finite,
        positions=heights,
        orientation="horizontal",
        widths=0.56,
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": FILL, "alpha": 0.45, "edgecolor": INK, "linewidth": 0.8},
        medianprops={"color": INK, "linewidth": 2},
        whiskerprops={"color": INK, "linewidth": 0.8},
        capprops={"color": INK, "linewidth": 0.8},
    )
    for v, height in zip(finite, heights, strict=True):
        spread = np.random.default_rng(0).uniform(-0.2, 0.2, len(v))  # keeps equal values apart
        axes.scatter(v, height + spread, s=9, color=INK, alpha=0.5, linewidths=0, zorder=3)
    names = [
        name if len(kept) == len(v) else f"{name} ({len(kept)} of {len(v)})"
        for name, kept, v in zip(objects, finite, values, strict=True)
    ]
    axes.set_yticks(heights, names)
    axes.set_ylim(-0.6, len(objects) - 0.4)
    axes.set_xlabel(label)
    _fit_axis(axes, np.concatenate(finite))
    return figure


def _fit_axis(axes, values: np.ndarray) -> None:
    """From zero; logarithmic beyond the median where a few values are far larger than most."""
    median, largest = np.median(values), values.max()
    if median > 0 and largest > TAIL * median:
        from matplotlib.ticker import FuncFormatter

        axes.set_xscale("symlog", linthresh=float(f"{median:.0e}"))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlim(0, 1.2 * largest)
    else:
        axes.set_xlim(0, 1.05 * largest or 1)
        axes.margins(x=0.02)


def _quality(objects: list[str], volumes: list[np.ndarray], displacements: list[np.ndarray]):
    """Share of good grasps over the volume threshold, of each object and of all."""
    figure, axes = _axes(height=4.2)
    for v, d in zip(volumes, displacements, strict=True):
        curve = high_quality_ratio(v, d)
        (thin,) = axes.plot(curve["volume_cm3"], curve["ratio_pct"], color=FILL, lw=1, alpha=0.7)
    curve = high_quality_ratio(np.concatenate(volumes), np.concatenate(displacements))
    (bold,) = axes.plot(curve["volume_cm3"], curve["ratio_pct"], color=INK, lw=2.5)
    axes.legend([bold, thin], ["all grasps", "each object"], frameon=False, loc="lower right")
    axes.set_xlabel("penetration volume at most [cm³]")
    axes.set_ylabel(f"grasps whose object moves at most {curve['max_displacement_cm']:g} cm [%]")
    axes.set_xlim(curve["volume_cm3"][0], curve["volume_cm3"][-1])
    axes.set_ylim(0, 101)
    return figure


def _axes(height: float):
    """A figure of that height in inches and its axes; no display is touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _save(figure, path: Path) -> Path:
    try:
        figure.savefig(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    return path
