"""Dataset card: README.md of a dataset, with pictures, all from its data.

python -m grasp_gen_training.dataset_card my_grasps --pictures docs/pictures --notes NOTES.md
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from grasp_gen_core.data.dataset import CLOSING, MESHES, TABLE, GraspDataset, object_mesh
from grasp_gen_core.data.dataset import COLUMNS as SCHEMA
from grasp_gen_core.errors import InputError
from grasp_gen_core.figures import EDGE, FILL
from grasp_gen_core.hand import PARTS, ManoHand
from grasp_gen_core.metrics import hold_worst_axis as hold
from grasp_gen_core.metrics.contact_ratio import CONTACT_DISTANCE
from grasp_gen_core.metrics.diversity import CLUSTERS
from grasp_gen_core.metrics.hands import HandMeshes
from grasp_gen_core.metrics.protocols import measure_exact, spread_exact
from grasp_gen_core.metrics.sim_displacement import STEP
from grasp_gen_core.objects.distance import build_scene, signed_distance
from grasp_gen_core.objects.procedural import FAMILIES, HELD_OUT
from grasp_gen_core.render import Cell, View, hand_axes, orbit, smooth, touching_parts, write_sheet
from grasp_gen_core.synthesis import RUN
from grasp_gen_core.synthesis import filter as kept
from grasp_gen_core.synthesis.taxonomy import GRASP_TYPES
from grasp_gen_core.types import BETAS

# By whether the objects are procedural.
ORIGIN = {
    True: """procedural objects.
Licence: MIT, as the project. Made without any scan or licensed data: the objects, the hand and the
grasps come from the project's own code.""",
    False: """objects, of which some are meshes of your own.
Licence: that of the meshes.""",
}
SPLIT = {
    True: f"""Splits are by whole shape family: {" and ".join(HELD_OUT)} are
held out for validation.""",
    False: """Meshes of your own are all to train on;
training holds some of them out.""",
}
SHEET, HISTOGRAMS = "training_grasps.png", "training_histograms.png"
ACROSS, DOWN, TILE = 8, 6, 220
LIFT = 0.003  # metres off the skin from which a touching place may be seen: pads are covered
SPREAD_OVER, AT_ONCE, PER_OBJECT = 5000, 500, 5  # grasps: clustered, posed, measured of an object
NUMBERS = [name for name, words in SCHEMA.items() if words.startswith("float32")]


def write_card(
    folder: Path, pictures: Path | None, command: str, notes: str, sample: int, seed: int
) -> None:
    """Write README.md of a dataset, and its pictures, into their own folder where there's one.

    Of `sample` grasps the metrics are measured anew; same seed, same card.

    Raises:
        InputError: if there's no dataset, or a mesh of it is missing.
    """
    GraspDataset.load(folder)  # which checks it
    table, hand, pictures = pd.read_parquet(folder / TABLE), ManoHand(), pictures or folder
    # A mesh file's family is the file itself.
    table.insert(1, "family", table["object"].str.partition(":")[0])
    meshes = folder / MESHES
    pictures.mkdir(parents=True, exist_ok=True)
    draw_sheet(choose_grasps(table, ACROSS * DOWN, seed), hand, meshes, pictures / SHEET)
    draw_histograms(table, pictures / HISTOGRAMS)
    text = card_text(table, command, os.path.relpath(pictures, folder))
    text += measured_text(table, hand, meshes, sample, seed) + closing_text(folder)
    text += f"\n## Weak points\n\n{notes.strip()}\n" if notes else ""
    (folder / "README.md").write_text(text)


def card_text(table: pd.DataFrame, command: str, pictures: str) -> str:
    """The card down to its tables; `pictures` is their folder, seen from the card's."""
    name, split = table["object"][0], table["split"].value_counts()
    betas, percent = np.stack(table["mano"])[:, BETAS], "{:.1%}".format
    kinds = table["kind"].value_counts().to_frame("grasps").rename_axis("grasp type")
    kinds["share"] = (kinds["grasps"] / len(table)).map(percent)
    families = table.groupby(["family", "split"])["object"].agg(["nunique", "size"]).reset_index(1)
    families.columns = ["split", "objects", "grasps"]
    numbers = table[NUMBERS].rename_axis(columns="column")
    numbers = numbers.quantile([0.5, 0.9, 1]).set_axis(["median", "90 %", "largest"]).T
    numbers.insert(0, "mean", table[NUMBERS].mean())
    touching = table["contacts"].str.get_dummies(" ").reindex(columns=PARTS, fill_value=0)
    touching = touching.mean().rename("share").map(percent).to_frame().rename_axis("touching part")
    wraps = " and ".join(k.name for k in GRASP_TYPES if not k.is_held(np.arange(6) < 5))
    procedural = set(table["family"]) <= set(FAMILIES)
    families = families.sort_values("grasps", ascending=False, kind="stable")
    tables = "\n\n".join(map(markdown, (kinds, numbers, touching, families)))
    return f"""# Grasps of household objects

{len(table):,} grasps of right hands on {table["object"].nunique():,} {ORIGIN[procedural]}

![Random grasps; coloured where hand and object are near each other]({pictures}/{SHEET})

## How to read it

```python
import pandas

grasps = pandas.read_parquet("{TABLE}")

from grasp_gen_core.data.dataset import object_mesh  # only for the objects

mesh = object_mesh("{name}", "{MESHES}")
```

`schema.json` describes the columns. {SPLIT[procedural]} {split.get("train", 0):,} grasps are to
train on, the others to validate.

## How they were made

```bash
{command}
```

Same seed, same grasps on the same machine and versions. More are made with another seed, or on
other meshes (solids, metres, z up; small holes are mended); `pandas.concat` joins the tables, and
the files in `{MESHES}` go along.

Hands of random shape (betas' standard deviation {betas.std():.2f}, largest {abs(betas).max():.1f})
start from {len(kinds)} human grasp types and are optimised for contact and force closure, against
penetration, self-penetration, unnatural angles (`grasp_gen_core/synthesis`). Kept are those that

- don't reach through the surface on which the object stands;
- are up to {kept.MAX_DEPTH_CM} cm deep in the exact mesh and share up to {kept.MAX_VOLUME_CM3} cm³;
- touch (within {1000 * CONTACT_DISTANCE:g} mm) with the thumb, all but one of the fingers that take
  part in their grasp type, one at least, and in {wraps} the palm;
- hold the object in MuJoCo under gravity along all six axes, {kept.HOLD_SECONDS} s each (friction
  {hold.FRICTION}, {hold.MASS} kg, hand fixed): it moves less than {kept.MAX_HOLD_CM} cm;
- hold it within {kept.MAX_SIM_CM} cm in PyBullet, {kept.SIM_STEPS} steps of 1/{1 / STEP:.0f} s.

## What is in it

{tables}

![Histograms]({pictures}/{HISTOGRAMS})

{percent((table["force_closure_n"] > 0).mean())} have a force-closure margin above 0.
"""


def measured_text(table: pd.DataFrame, hand: ManoHand, meshes: Path, count: int, seed: int) -> str:
    """The card's section of what is measured anew, of `count` grasps where there are as many."""
    table = table.sample(frac=1, random_state=seed)
    drawn = table.groupby("object").head(PER_OBJECT).groupby("object", sort=False)
    drawn = pd.concat([mine for _, mine in drawn])[:count].groupby("object", sort=False)
    rows = []
    for name, mine in tqdm(drawn, "measure", unit="object", disable=None):
        vertices, joints = pose(hand, mine)
        posed = {"vertices": vertices, "joints": joints, "faces": hand.closed_faces.numpy()}
        hands = HandMeshes.from_arrays(posed, hand, name)
        rows.append(pd.DataFrame(measure_exact(hands, object_mesh(name, meshes))))
    means = (measured := pd.concat(rows)).mean().to_dict()
    if len(some := table[:SPREAD_OVER]) >= CLUSTERS:
        means |= spread_exact(pose(hand, some)[1], None, seed)
    return f"""
## Measured anew

The metrics of {len(measured)} random grasps on {len(rows)} objects, up to {PER_OBJECT} of an object
(seed {seed}), as `grasp-gen evaluate` takes them; of `*_unstable` the share. Entropy and cluster
size are of {len(some):,} random grasps, {CLUSTERS} clusters of the whitened joints in the objects'
frames; the size in cm is of the joints as they are.

{markdown(pd.Series(means, name="mean").to_frame().rename_axis("metric"))}
"""


def closing_text(folder: Path) -> str:
    """What is known of which grasps hold when the hand closes; nothing where nothing is."""
    if not (folder / CLOSING).is_file():
        return ""
    holds = pd.read_parquet(folder / CLOSING)["holds"]
    return (
        f"\n## Grasps that close\n\n`{CLOSING}` says of {len(holds):,} grasps whether they hold "
        f"when the hand closes (`holds`; `grasp` is the\nrow's number in `{TABLE}`): "
        f"{holds.mean():.0%} do.\n"
    )


def markdown(frame: pd.DataFrame) -> str:
    """A table, the index first; fractions with three digits."""
    rows = [[str(frame.index.name), *frame.columns], ["---"] * (1 + frame.shape[1])]
    for row in frame.itertuples():
        cells = (f"{x:.3f}" if isinstance(x, float) else x for x in row)
        rows.append([x if isinstance(x, str) else f"{x:,}" for x in cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def pose(hand: ManoHand, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (B, 778, 3) and joints (B, 21, 3) of a table's hands."""
    with torch.no_grad():
        mano = torch.from_numpy(np.stack(table["mano"]))
        vertices, joints = zip(*map(hand, mano.split(AT_ONCE)), strict=True)
    return torch.cat(vertices).numpy(), torch.cat(joints).numpy()


def choose_grasps(table: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Rows of random grasps: types in turn, each of a family that was drawn least until then."""
    rng, kinds = np.random.default_rng(seed), sorted(table["kind"].unique())
    chosen, often = [], dict.fromkeys(table["family"], 0)
    for turn in range(min(count, len(table))):
        rest = table.drop(index=chosen)
        of_kind = rest[rest["kind"] == kinds[turn % len(kinds)]]
        families = (rest if of_kind.empty else of_kind).groupby("family").groups
        least = min(often[family] for family in families)
        family = rng.choice([family for family in families if often[family] == least])
        chosen.append(int(rng.choice(families[family])))
        often[family] += 1
    return table.loc[chosen]


def best_view(vertices: np.ndarray, joints: np.ndarray, hand: ManoHand, mesh) -> View:
    """Where most of a hand (778, 3) shows, above all where it touches, each finger alike."""
    faces = np.concatenate([hand.closed_faces.numpy(), mesh.faces + len(vertices)])
    scene = build_scene(np.concatenate([vertices, mesh.vertices]), faces)
    sides = orbit(hand_axes(joints[None])[0])[:5]  # not from below
    views = np.array([side.direction for side in sides])
    starts = vertices + LIFT * views[:, None]
    rays = np.concatenate([starts, np.broadcast_to(views[:, None], starts.shape)], axis=2)
    seen = ~scene.test_occlusions(rays.astype(np.float32)).numpy()
    touching = signed_distance(mesh, vertices[None])[0] <= CONTACT_DISTANCE
    parts = hand.parts.numpy()
    shown = [seen[:, touching & (parts == part)].mean(axis=1) for part in set(parts[touching])]
    return sides[np.argmax(np.mean(shown, axis=0) + seen.mean(axis=1))]


def draw_sheet(table: pd.DataFrame, hand: ManoHand, meshes: Path, path: Path) -> None:
    """Contact sheet of a table's grasps, family and grasp type above each."""
    cells = []
    hands = zip(*pose(hand, table), table.itertuples(), strict=True)
    for vertices, joints, row in tqdm(hands, "draw", len(table), unit="grasp", disable=None):
        mesh = object_mesh(row.object, meshes)
        parts = touching_parts(vertices, hand.faces.numpy(), smooth(mesh, EDGE))
        side = best_view(vertices, joints, hand, mesh)
        cells.append(Cell(f"{row.family} {row.kind}", parts, [side]))
    write_sheet([cells[i : i + ACROSS] for i in range(0, len(cells), ACROSS)], path, TILE)


def draw_histograms(table: pd.DataFrame, path: Path) -> None:
    """Histograms of the numbers that the grasps were kept for."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), dpi=120, layout="constrained")
    for axes, name in zip(figure.subplots(2, 3).flat, NUMBERS, strict=True):
        bins = np.arange(-0.5, 6) if name == "contact_fingers" else 40
        axes.hist(table[name], bins, color=FILL, edgecolor="white")
        axes.set_xlabel(name)
    figure.supylabel("grasps")
    figure.savefig(path)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        "python -m grasp_gen_training.dataset_card", description=__doc__
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder (default: the dataset's)")
    help = "what made it (default: read from its run.json)"
    parser.add_argument("--command", help=help)
    parser.add_argument("--notes", type=Path, help="file with the text on weak points")
    parser.add_argument("--sample", type=int, default=500, help="grasps measured anew")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random")
    given = parser.parse_args(argv)
    try:
        notes = given.notes.read_text() if given.notes else ""
        command = given.command or read_command(given.dataset)
        write_card(given.dataset, given.pictures, command, notes, given.sample, given.seed)
    except (OSError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    print(f"wrote {given.dataset / 'README.md'}, pictures in {given.pictures or given.dataset}")


def read_command(folder: Path) -> str:
    """The command that made a dataset, from the record that it left.

    Raises:
        InputError: if there's none.
    """
    path = folder / RUN
    if not path.is_file():
        raise InputError(f"{path}: not there, accepted is --command, what made the dataset")
    run = json.loads(path.read_text())
    objects = run["objects"] if run["objects"] == "procedural" else Path(run["objects"]).name
    return (
        f"grasp-gen synthesize --objects {objects} --count {run['count']} --seed {run['seed']} "
        f"--out {folder.resolve().name}"
    )


if __name__ == "__main__":
    main()
