"""What ranking knows, on judged hands of the families that training doesn't see.

    python benchmarks/ranking.py [--weights DIR] [--figure PNG]    # formula, evaluator, the best
    python benchmarks/ranking.py --parts --known --counts 100 200   # evaluators trained anew

Judged hands are made first, as `grasp-gen train evaluator` does. Tables give, of each view's
objects: the score's rank correlation with the quality index, its ROC area for hands that hold when
they close, and index and share that hold of the first hand and of the first five, of 16.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from grasp_gen_core.generators import build_generator
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.metrics.score_order import order_numbers
from grasp_gen_core.ranking import get_evaluator
from grasp_gen_core.ranking.evaluator import Evaluator, Expected, is_good
from grasp_gen_core.ranking.evidence import HAND_PARTS, PLACE_PARTS, Evidence
from grasp_gen_core.report import table
from grasp_gen_training.judged import Judged, JudgedData, calibrate
from grasp_gen_training.train import read_config

VIEWS = ("full", "mask50", "mask90", "camera")
LEFT_OUT = ("where outward pose shape", "apart away ahead", "unsure", "guessed view toward")
LEFT_OUT += ("near facing", "middle formula")
BINS = 8


def singles(data: Judged) -> list[dict[str, Tensor]]:
    """Batches of one object each."""
    return [data[np.array([i]), 0] for i in range(len(data))]


class Held:
    """Judged hands of held-out objects, as a list of batches of one."""

    def __init__(self, data: Judged) -> None:
        self.batches = singles(data)
        self.views = [data.names[i].rpartition("/")[2] for i in data.known]
        self.true = [Expected(*(b[name][0] for name in Expected._fields)) for b in self.batches]
        self.numbers = [
            {"quality_index": one.quality_index.numpy(), "grasp_success": one.success.numpy()}
            for one in self.true
        ]
        self.formula = [data.records["score"][i] for i in data.known]

    def rows(self, name: str, scores: list[np.ndarray]) -> list[dict[str, str]]:
        """A table's row for each view."""
        rows = []
        for view in VIEWS:
            chosen = [i for i, one in enumerate(self.views) if one == view]
            found = order_numbers([scores[i] for i in chosen], [self.numbers[i] for i in chosen])
            numbers = [found["score_spearman"], found["score_roc_area"]]
            numbers += [found[f"best{n}"][m] for n in (1, 5) for m in self.numbers[0]]
            heads = ("rank correlation", "ROC area", "first: index", "holds", "five: index", "hold")
            cells = {head: f"{x:.2f}" for head, x in zip(heads, numbers, strict=True)}
            rows.append({"view": view, "objects": str(len(chosen)), "score": name, **cells})
        return rows


def chances(evaluator: Evaluator, batches: list[dict[str, Tensor]]) -> list[np.ndarray]:
    with torch.no_grad():
        told = [Evidence(*(b[name][0] for name in Evidence._fields)) for b in batches]
        return [evaluator.chance(one).numpy() for one in told]


def without(parts: str, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """A batch in which those parts of the evidence say nothing."""
    found = dict(batch)
    for name, layout in (("places", PLACE_PARTS), ("hands", HAND_PARTS)):
        pieces = found[name].split([*layout.values()], dim=-1)
        kept = [
            0 * x if part in parts.split() else x for x, part in zip(pieces, layout, strict=True)
        ]
        found[name] = torch.cat(kept, dim=-1)
    return found


def trained(batches: list[dict[str, Tensor]], config: dict) -> Evaluator:
    """A new evaluator, trained on batches of one and calibrated on what its members left out."""
    torch.manual_seed(config["seed"])
    evaluator = build_generator("evaluator", ManoHand(), config.get("model")).train()
    evidence = (torch.cat([one[name] for one in batches]) for name in Evidence._fields)
    evaluator.standardise(Evidence(*evidence))
    optimiser, (size, order) = config["optimiser"], (config["data"]["batch"], [])
    adam = torch.optim.AdamW(evaluator.parameters(), weight_decay=1e-4)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, optimiser["lr"], optimiser["steps"] + 1)
    for _ in range(optimiser["steps"]):
        order = order if len(order) >= size else torch.randperm(len(batches)).tolist()
        several, order = [batches[i] for i in order[:size]], order[size:]
        batch = {name: torch.cat([one[name] for one in several]) for name in several[0]}
        adam.zero_grad()
        evaluator.loss(batch)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(evaluator.parameters(), 1.0)
        adam.step()
        rate.step()
    calibrate(evaluator.eval(), batches)
    return evaluator


def reliability(scores: np.ndarray, good: np.ndarray, path: Path) -> None:
    """How often hands were good by the chance that they had, as a small PNG."""
    import matplotlib.pyplot as plt
    from PIL import Image

    edges = np.quantile(scores, np.linspace(0, 1, BINS + 1))
    place = np.clip(np.searchsorted(edges, scores, "right") - 1, 0, BINS - 1)
    parts = [(scores[place == i], good[place == i]) for i in range(BINS)]
    told, true = (np.array([x.mean() for x in one]) for one in zip(*parts, strict=True))
    error = np.array([2 * np.sqrt(g.mean() * (1 - g.mean()) / len(g)) for _, g in parts])
    figure, axes = plt.subplots(figsize=(4, 4), dpi=100, layout="constrained")
    axes.plot([0, 1], [0, 1], color="#dfe3e8")
    axes.errorbar(told, true, error, fmt="o-", color="#46525e", capsize=2)
    axes.set(xlabel="score", ylabel="share of good hands", xlim=(0, 1), ylim=(0, 1))
    figure.savefig(path)
    Image.open(path).convert("RGB").quantize(16).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="evaluator", help="evaluator to measure, or none")
    parser.add_argument("--figure", type=Path, help="reliability plot")
    parser.add_argument("--parts", action="store_true", help="train anew without parts")
    parser.add_argument("--known", action="store_true", help="train anew on the true surface")
    parser.add_argument("--counts", type=int, nargs="*", default=[], help="train anew on so many")
    parser.add_argument("overrides", nargs="*", help="of the config, such as optimiser.steps=500")
    arguments = parser.parse_args()
    config = read_config("evaluator", arguments.overrides)
    data = JudgedData(**config["data"])
    held, rows = Held(data.validation), []
    if arguments.weights != "none":
        found = chances(get_evaluator(arguments.weights, ManoHand()), held.batches)
        rows += held.rows("formula", held.formula) + held.rows("evaluator", found)
        rows += held.rows("best by index", [-one.quality_index.numpy() for one in held.true])
        rows += held.rows("those that hold", [
            (one.success - 1e-3 * one.quality_index).numpy() for one in held.true
        ])  # fmt: skip
        scores, good = np.concatenate(found), torch.cat([is_good(one) for one in held.true])
        good = good.float().numpy()
        print(f"{good.mean():.2f} are good, Brier score {np.mean((scores - good) ** 2):.3f}")
        if arguments.figure:
            reliability(scores, good, arguments.figure)
    train = singles(data.training)
    plans = [(f"{n} objects", train[:n], held.batches) for n in arguments.counts]
    for parts in LEFT_OUT if arguments.parts else ():
        fewer = ([without(parts, batch) for batch in some] for some in (train, held.batches))
        plans.append((f"without {parts}", *fewer))
    if arguments.known:
        told = JudgedData(**config["data"], known=True)
        plans.append(("true surface known", singles(told.training), singles(told.validation)))
    for name, known, asked in plans:
        rows += held.rows(name, chances(trained(known, config), asked))
    print(table(sorted(rows, key=lambda row: VIEWS.index(row["view"]))))


if __name__ == "__main__":
    main()
