"""The measured tables of the documentation, of all systems, by one command.

python -m grasp_gen_training.results --objects DIR --reference DATASET dvqvae  # measure, and write
python -m grasp_gen_training.results --task refine --objects DATASET      # refinement of its grasps
python -m grasp_gen_training.results                                      # only write the tables

A system's numbers lie in docs/results/, one file for each refiner; measured with --sampling, also
for each set of options, and left out where systems are compared. Tables stand between the marks
`<!-- table: KIND ... -->` and `<!-- end -->` of the README, the docs and the weights' cards.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np

from grasp_gen_core import refiners
from grasp_gen_core.errors import InputError
from grasp_gen_core.evaluation import SPLITS, TASKS, Evaluation, Settings, evaluate
from grasp_gen_core.figures import contact_sheet
from grasp_gen_core.generators import NAMES, read_options
from grasp_gen_core.metrics.high_quality_ratio import VOLUMES
from grasp_gen_core.metrics.published import PUBLISHED, PUBLISHED_ABLATION, PUBLISHED_REFINED, Row
from grasp_gen_core.objects import views
from grasp_gen_core.report import COLUMNS, cells, table
from grasp_gen_core.runtime import tune_allocator

ROOT = Path(__file__).parents[1]
VIEWS = tuple(view for view in views.VIEWS if view != "mesh")
# Protocol and view: our own, and what the papers measured.
RUNS = [*(("exact", view) for view in VIEWS), *PUBLISHED]
SHORT = ("contact_ratio_pct", "contact_fingers", "penetration_volume_cm3", "penetration_depth_cm")
SHORT += ("sim_displacement_cm", "sim_displacement_median_cm", "hold_worst_axis_cm")
SHORT += ("entropy", "cluster_size", "quality_index")
REFINED = ("mpjpe_mm", "r_mpjpe_mm", "penetration_volume_cm3", "contact_f1_pct")
REFINED += ("contact_precision_pct", "contact_recall_pct", "sim_displacement_cm")
BY_OBJECT = ("penetration_volume_cm3", "penetration_depth_cm", "contact_fingers")
BY_OBJECT += ("sim_displacement_cm", "sim_drift_cm", "hold_worst_axis_cm", "hold_drift_cm")
BY_OBJECT += ("quality_index",)
NUM = 1  # grasp of each object that is refined
QUALITY = (0.5, 1, 2, 5, 10)  # cm^3
MARK = re.compile(r"(<!-- table: ([\w,=. ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
TIME = "time per grasp [s]"
REFINERS = ("none", *refiners.NAMES)
KINDS = ("compare", "views", "objects", "protocols", "quality", "chosen", "refine", "gpu")
STAGES = ("cloud", "generate", "refine", "rank")
OPTION = ","  # before a sampling option in a method's name
NOISY = "perturbed"  # in place of a generator where grasps are refined


class Records:
    """What was measured: a file for each generator and refiner, in it a record for each run.

    Args:
        folder: of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, generator: str, refiner: str) -> Path:
        return self.folder / f"{Path(generator).name}-{refiner}.json"

    def load(self, generator: str, refiner: str) -> dict[str, dict]:
        """Records by "PROTOCOL VIEW"; none where nothing was measured."""
        path = self.file(generator, refiner)
        return json.loads(path.read_text()) if path.exists() else {}

    def methods(self) -> list[tuple[str, str]]:
        """Generators and refiners of which there are records, in the order of their NAMES."""
        found = [tuple(path.stem.rsplit("-", 1)) for path in sorted(self.folder.glob("*-*.json"))]
        found = [m for m in found if m[0] != NOISY and OPTION not in m[0]]
        return sorted(found, key=lambda m: (place(m[0], NAMES), m[0], place(m[1], REFINERS), m[1]))

    def of(self, protocol: str, view: str) -> Iterator[tuple[str, str, dict]]:
        """Generator, refiner and record of all that were measured so."""
        for generator, refiner in self.methods():
            records = self.load(generator, refiner)
            if f"{protocol} {view}" in records:
                yield generator, refiner, records[f"{protocol} {view}"]

    def add(self, settings: Settings, result: Evaluation) -> None:
        """Keep an evaluation, in place of an earlier one of its kind."""
        refines = settings.task == "refine"
        options = (f"{OPTION}{name}={value:g}" for name, value in settings.sampling)
        generator = NOISY if refines else "".join([Path(settings.generator).name, *options])
        records = self.load(generator, settings.refiner)
        kind = settings.split if refines else f"{settings.protocol} {settings.view}"
        records[kind] = {
            "summary": result.results["summary"],
            "per_object": {} if refines else result.results["per_object"],
            "grasps": sum(len(one.hands) for one in result.objects),
            TIME: result.seconds / settings.num,
            **{name: result.results["config"][name] for name in ("device", "versions")},
            "machine": f"{os.cpu_count()} cores {platform.machine()}",
            "date": date.today().isoformat(),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.file(generator, settings.refiner)
        path.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")

    # The kinds of tables; each takes the words of its mark.

    def compare(self, protocol: str, view: str) -> str:
        """All methods under one protocol and view, then the papers' rows."""
        rows, used, papers = [], [], PUBLISHED.get((protocol, view), [])
        found = list(self.of(protocol, view))
        names = [n for n in COLUMNS if any(n in record["summary"] for *_, record in found)]
        for generator, refiner, record in found:
            source = {"source": "measured here"} if papers else {}
            rows.append({"method": label(generator, refiner), **row(record, names), **source})
            used.append(record)
        rows += [published(paper, names) for paper in papers]
        return table(rows) + caption(used, protocol=protocol, view=view)

    def chosen(self, protocol: str, view: str, *methods: str) -> str:
        """Those systems and variants that were measured, unrefined; then the papers' variants."""
        records = {
            method: self.load(method, "none").get(f"{protocol} {view}") for method in methods
        }
        found = {method: record for method, record in records.items() if record}
        papers = PUBLISHED_ABLATION.get((protocol, view), [])
        names = [name for name in SHORT if any(name in r["summary"] for r in found.values())]
        rows = [{"method": method, **row(record, names)} for method, record in found.items()]
        rows += [published(paper, names) for paper in papers]
        fixed = {"refiner": "none", "view": view, "protocol": protocol, "sampling": "OPTIONS"}
        return table(rows) + caption([*found.values()], **fixed)

    def refine(self, split: str) -> str:
        """Perturbed grasps and what refiners make of them, then the paper's rows."""
        rows, used = [], []
        for refiner in REFINERS:
            if split in (records := self.load(NOISY, refiner)):
                found = cells(records[split]["summary"], REFINED)
                rows.append({"method": label(NOISY, refiner), **found, "source": "measured here"})
                used.append(records[split])
        rows += [published(paper, REFINED) for paper in PUBLISHED_REFINED[split]]
        words = f"--task refine --objects training/data --split {split} --num {NUM} --refiner NAME"
        grasps = " or ".join(dict.fromkeys(f"{record['grasps']} grasps" for record in used))
        return table(rows) + made(words, used, grasps)

    def views(self, generator: str) -> str:
        """One system's views, without and with refiners."""
        rows, used = [], []
        for view in VIEWS:
            for found, refiner, record in self.of("exact", view):
                if found == generator:
                    rows.append({"view": view, "refiner": refiner, **row(record, SHORT)})
                    used.append(record)
        return table(rows) + caption(used, generator=generator)

    def objects(self, generator: str, refiner: str) -> str:
        """One method object by object, full view."""
        record = self.load(generator, refiner)["exact full"]
        rows = [{"object": n, **cells(r, BY_OBJECT)} for n, r in record["per_object"].items()]
        return table(rows) + caption([record], generator=generator, refiner=refiner)

    def protocols(self, generator: str, refiner: str) -> str:
        """The same grasps under each protocol."""
        names = ("contact_ratio_pct", "penetration_volume_cm3", "penetration_depth_cm")
        names += ("sim_displacement_cm", "entropy", "cluster_size", "quality_index")
        records = self.load(generator, refiner)
        wanted = {p: records[f"{p} full"] for p, view in RUNS if view == "full"}
        rows = [{"protocol": f"`{p}`", **cells(r["summary"], names)} for p, r in wanted.items()]
        return table(rows) + caption(
            [*wanted.values()], generator=generator, refiner=refiner, view="full", protocol="NAME"
        )

    def quality(self) -> str:
        """Share of the grasps below some volumes of which the object moves at most 2 cm."""
        rows, used = [], []
        for view in VIEWS:
            for generator, refiner, record in self.of("exact", view):
                curve = record["summary"]["high_quality_ratio"]["ratio_pct"]
                shares = {f"{v} cm³": f"{np.interp(v, VOLUMES, curve):.1f}" for v in QUALITY}
                rows.append({"view": view, "method": label(generator, refiner), **shares})
                used.append(record)
        return table(rows) + caption(used)

    def gpu(self) -> str:
        """What benchmarks/gpu.py found: stages, training, and how alike the devices' grasps are."""
        path = self.folder / "gpu.json"
        if not path.exists():
            return "\nNot measured.\n"
        found = json.loads(path.read_text())
        tables = [
            table([columns(row) for row in found[section]])
            for section, columns in (
                ("stages", _stages), ("training", _training), ("agreement", _agreement),
            )
        ]  # fmt: skip
        where = f"{found['device']}, {found['machine']}, torch {found['torch']}"
        return "\n\n".join([*tables, f"*`{found['command']}`; {where}; {found['date']}.*\n"])


def _stages(row: dict) -> dict[str, str]:
    """Seconds of a call; of one that took too long or found no memory there are none."""
    seconds = row["seconds"]
    return {
        "method": row["method"],
        "grasps": str(row.get("grasps", "–")),
        **{f"{stage} [s]": _number(seconds.get(stage), 4) for stage in STAGES},
        "total [s]": _number(sum(seconds.values()) if seconds else None, 4),
        "calls": str(row["calls"]),
        "memory [GB]": row.get("memory") or _number(row.get("memory_gb"), 2),
    }


def _training(row: dict) -> dict[str, str]:
    return {
        "config": row["config"],
        "batch": str(row["batch"]),
        "steps": str(row["steps"]),
        "steps per second": _number(row.get("per_second"), 1),
        "memory [GB]": _number(row.get("memory_gb"), 2),
    }


def _agreement(row: dict) -> dict[str, str]:
    names = ("score", "penetration_depth_cm", "contact_fingers", "net_wrench")
    return {
        "method": row["method"],
        "device": row["device"],
        "grasps": str(row["grasps"]),
        **{name.replace("_", " "): _number(row.get(name), 3) for name in names},
        "made again, off by": _number(row.get("apart"), 6),
    }


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def place(name: str, names: tuple[str, ...]) -> int:
    """Where a name stands among names; a folder's comes last."""
    return names.index(name) if name in names else len(names)


def label(generator: str, refiner: str) -> str:
    return generator if refiner == "none" else f"{generator} + {refiner}"


def published(paper: Row, names: tuple[str, ...] | list[str]) -> dict[str, str]:
    return {"method": paper.method, **cells(paper.metrics, names), "source": paper.source}


def row(record: dict, names: tuple[str, ...] | list[str]) -> dict[str, str]:
    return cells(record["summary"], names) | {TIME: f"{record[TIME]:.3f}"}


def caption(records: list[dict], **fixed: str) -> str:
    """What makes such numbers, where and when these were made."""
    named = {"generator": "NAME", "refiner": "NAME", "view": "VIEW", "protocol": "exact"} | fixed
    words = "".join(f" --{name} {value}" for name, value in named.items() if value != "exact")
    return made(f"--objects $YCB{words}", records)


def made(words: str, records: list[dict], *more: str) -> str:
    """The command with these words that made records, and where and when; more to say."""
    days = sorted({r["date"] for r in records})
    used = sorted({(r["device"], r["machine"]) for r in records})
    machines = "; ".join(f"{device}, {machine}" for device, machine in used)
    when = " to ".join(dict.fromkeys((days[0], days[-1])))
    facts = "; ".join([f"`grasp-gen evaluate {words}`", *more, machines, when])
    return f"\n\n*{facts}.*\n"


def pages() -> list[Path]:
    """The files that have tables: README, documentation, weights' cards."""
    cards = (ROOT / "grasp_gen_core" / "generators" / "weights").glob("*/README.md")
    found = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *cards]
    return [path for path in found if MARK.search(path.read_text())]


def write_tables(records: Records, files: list[Path]) -> None:
    """Write all marked tables anew.

    Raises:
        InputError: if a mark names no kind of table.
    """
    for path in files:

        def fill(mark: re.Match) -> str:
            kind, *words = mark[2].split()
            if kind not in KINDS:
                raise InputError(f"{path}: {mark[2]!r}: no such table")  # noqa: B023
            return f"{mark[1]}\n{getattr(records, kind)(*words)}\n{mark[3]}"

        text = path.read_text()
        if (written := MARK.sub(fill, text)) != text:
            path.write_text(written)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("generators", nargs="*", help="systems to measure, names or folders")
    parser.add_argument("--task", default="generate", choices=TASKS)
    parser.add_argument("--objects", help="folder of meshes; to refine, a dataset")
    parser.add_argument("--refiners", nargs="+", help="default: quick none, or all to refine")
    help = "protocol and view each, such as exact/full; default: all that the papers have"
    parser.add_argument("--runs", nargs="+", help=help)
    help = "options of the systems, such as steps=5"
    parser.add_argument("--sampling", type=read_options, default=(), help=help)
    parser.add_argument("--reference", help="dataset whose pictures fid compares with")
    arguments = parser.parse_args()
    tune_allocator()
    records = Records(ROOT / "docs" / "results")
    plan = plan_refinement if arguments.task == "refine" else plan_generation
    for settings in plan(arguments):
        print(settings, flush=True)
        result = evaluate(arguments.objects, settings, quiet=True)
        records.add(settings, result)
        kind = settings.task, settings.protocol, settings.view
        drawn = settings.refiner != "none" and not settings.sampling
        if drawn and kind == ("generate", "exact", "full"):
            name = f"results_{Path(settings.generator).name}_{settings.refiner}.png"
            if any(name in page.read_text() for page in pages()):
                contact_sheet(result.objects, ROOT / "docs" / "pictures" / name)
    write_tables(records, pages())


def plan_generation(arguments: argparse.Namespace) -> Iterator[Settings]:
    runs = [run.split("/") for run in arguments.runs] if arguments.runs else RUNS
    for generator in arguments.generators:
        for refiner in arguments.refiners or ("quick", "none"):
            for protocol, view in runs:
                yield Settings(
                    generator=generator,
                    refiner=refiner,
                    sampling=arguments.sampling,
                    protocol=protocol,
                    view=view,
                    reference=arguments.reference if protocol == "exact" else None,
                )


def plan_refinement(arguments: argparse.Namespace) -> Iterator[Settings]:
    # Noisy hands are nobody's proposals: there is no decoder to adapt.
    for refiner in arguments.refiners or [name for name in REFINERS if name != "grasp_tta"]:
        for split in SPLITS if arguments.objects else ():
            yield Settings(task="refine", refiner=refiner, split=split, num=NUM)


if __name__ == "__main__":
    main()
