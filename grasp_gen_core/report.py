"""What an evaluation looks like on paper: Markdown tables in the papers' columns."""

from __future__ import annotations

from typing import NamedTuple

from grasp_gen_core.evaluation import Evaluation
from grasp_gen_core.metrics.published import PUBLISHED
from grasp_gen_core.metrics.score_order import FIRST


class Column(NamedTuple):
    """A metric's heading, and the digits that mean something."""

    heading: str
    digits: int


COLUMNS = {
    "contact_ratio_pct": Column("contact ratio [%] ↑", 1),
    "penetration_volume_cm3": Column("penetration volume [cm³] ↓", 2),
    "penetration_depth_cm": Column("penetration depth [cm] ↓", 2),
    "sim_displacement_cm": Column("displacement, mean [cm] ↓", 2),
    "sim_displacement_median_cm": Column("median [cm] ↓", 2),
    "sim_displacement_std_cm": Column("std [cm]", 2),
    "sim_drift_cm": Column("its drift without gravity [cm]", 2),
    "sim_unstable_pct": Column("unstable [%]", 1),
    "hold_worst_axis_cm": Column("hold, worst axis [cm] ↓", 2),
    "hold_drift_cm": Column("its drift [cm]", 2),
    "hold_unstable_pct": Column("unstable [%]", 1),
    "grasp_success": Column("closing success ↑", 2),
    "contact_fingers": Column("fingers in contact", 2),
    "entropy": Column("entropy ↑", 2),
    "cluster_size": Column("cluster size ↑", 2),
    "cluster_size_cm": Column("cluster size [cm] ↑", 2),
    "quality_index": Column("quality index ↓", 2),
    "mpjpe_mm": Column("MPJPE [mm] ↓", 2),
    "r_mpjpe_mm": Column("root-aligned MPJPE [mm] ↓", 2),
    "contact_f1_pct": Column("contact F1 [%] ↑", 1),
    "contact_precision_pct": Column("precision [%] ↑", 1),
    "contact_recall_pct": Column("recall [%] ↑", 1),
    "fid": Column("FID ↓", 2),
    "score_spearman": Column("score's rank correlation ↑", 2),
    "score_roc_area": Column("score's ROC area ↑", 2),
}


def markdown(evaluation: Evaluation) -> str:
    """Our row and those of the first grasps by score, below them the papers' under the same
    protocol and view, then object by object."""
    results, config = evaluation.results, evaluation.results["config"]
    names = [name for name in COLUMNS if name in results["summary"]]
    ours = {"method": _label(config), **cells(results["summary"], names)}
    rows, published = [ours], []
    if config.get("task") == "generate":
        published = PUBLISHED.get((config["protocol"], config["view"]), [])
    if evaluation.seconds is not None:
        ours["time per grasp [s]"] = f"{evaluation.seconds / config['num']:.3f}"
    if published:
        ours["source"] = "this run"
    for count in FIRST:
        if first := results["summary"].get(f"best{count}"):
            of = {"method": f"the first{f' {count}' * (count > 1)} by score", **cells(first, names)}
            rows.append({heading: of.get(heading, "–") for heading in ours})
    for row in published:
        named = {"method": row.method, **cells(row.metrics, names), "source": row.source}
        rows.append({heading: named.get(heading, "–") for heading in ours})
    parts = [_caption(evaluation), table(rows)]
    if published:
        parts.append(
            "Published rows are the papers' own grasps on HO-3D's ten objects, measured by the "
            f"same protocol, `{config['protocol']}`; their times are of other machines, left out."
        )
    if len(results["per_object"]) > 1:
        by_object = results["per_object"]
        known = [name for name in names if name in next(iter(by_object.values()))]
        parts.append(
            table([{"object": name, **cells(row, known)} for name, row in by_object.items()])
        )
    parts += [f"- {name}: {'; '.join(notes)}" for name, notes in config["notes"].items()]
    return "\n\n".join(parts) + "\n"


def _label(config: dict) -> str:
    if "generator" not in config:
        return config["grasps"]
    refined = "" if config["refiner"] == "none" else f" + {config['refiner']}"
    if config["task"] == "refine":
        return "perturbed grasps" + refined
    return config["generator"] + refined


def _caption(evaluation: Evaluation) -> str:
    results, config = evaluation.results, evaluation.results["config"]
    grasps, objects = len(results["per_grasp"]), len(results["per_object"])
    words = [f"Protocol `{config['protocol']}`", f"{grasps} grasps on {objects} objects"]
    if "view" in config:
        words.append(f"view {config['view']}, seed {config['seed']}, {config['device']}")
    if config["versions"]["pybullet"]:
        words.append(f"displacement by pybullet {config['versions']['pybullet']}")
    if config.get("fid_extractor"):
        words.append(f"FID by {config['fid_extractor']}")
    return ", ".join(words) + "."


def cells(numbers: dict, names: list[str]) -> dict[str, str]:
    """Metrics to formatted numbers."""
    return {
        name: "–" if numbers.get(name) is None else f"{numbers[name]:.{COLUMNS[name].digits}f}"
        for name in names
    }


def table(rows: list[dict[str, str]]) -> str:
    """A Markdown table; its first row tells the columns."""
    columns = list(rows[0])
    headings = [COLUMNS[name].heading if name in COLUMNS else name for name in columns]
    lines = [
        headings,
        ["---"] * len(columns),
        *([row.get(n, "–") for n in columns] for row in rows),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
