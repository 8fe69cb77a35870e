"""Tables of the documentation: the right numbers in the right rows, and nothing else touched."""

import json
import re

import pytest

from grasp_gen_core.evaluation import Evaluation, Settings
from grasp_gen_training.results import ROOT, Records, pages, write_tables


@pytest.fixture
def records(tmp_path):
    made = Records(tmp_path / "results")
    for generator, refiner, volume in (
        ("dvqvae", "none", 12.345),
        ("grasp_cvae", "quick", 0.126),
        ("grasp_cvae", "none", 26.2),
    ):
        for protocol in ("exact", "dvqvae", "grasptta", "fastgrasp"):
            settings = Settings(generator=generator, refiner=refiner, protocol=protocol, num=20)
            ratio = [float(share) for share in range(41)]
            summary = {
                "penetration_volume_cm3": volume,
                "contact_ratio_pct": 97.5,
                "high_quality_ratio": {"ratio_pct": ratio},
            }
            results = {
                "summary": summary,
                "per_object": {"can": summary, "mug": summary | {"penetration_volume_cm3": 7.0}},
                "config": {"device": "cpu", "versions": {}},
            }
            made.add(settings, Evaluation([], results, 0.5))
    return made


def fill(records, path, kind):
    path.write_text(f"before\n<!-- table: {kind} -->\nstale words\n<!-- end -->\nafter\n")
    write_tables(records, [path])
    text = path.read_text()
    write_tables(records, [path])
    assert path.read_text() == text
    assert re.fullmatch(r"before\n<!-- table: .* -->\n.*<!-- end -->\nafter\n", text, re.DOTALL)
    assert "stale words" not in text
    return [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]


def test_methods_stand_in_order_with_the_papers_below(records, tmp_path):
    rows = fill(records, tmp_path / "page.md", "compare dvqvae full")
    names = [cells[0].removeprefix("| ") for cells in rows]
    assert names[:3] == ["grasp_cvae", "grasp_cvae + quick", "dvqvae"]
    assert [cells[2] for cells in rows[:3]] == ["26.20", "0.13", "12.35"]
    assert rows[0][3] == "0.025"  # seconds of a call over its 20 grasps
    assert names[-1] == "DVQ-VAE" and rows[-1][1:3] == ["99.5", "5.36"]
    assert "Table 1" in rows[-1][-1]


def test_variants_stand_beside_their_system_and_the_papers(records, tmp_path):
    """A sampling option makes a record of its own, which no table of systems shows."""
    options, summary = (("steps", 5.0), ("adapt", 0.0)), {"penetration_volume_cm3": 3.0}
    results = {"summary": summary, "per_object": {}, "config": {"device": "cpu", "versions": {}}}
    settings = Settings("generate", "dvqvae", "none", sampling=options, protocol="fastgrasp")
    records.add(settings, Evaluation([], results, 0.5))
    variant = "dvqvae,steps=5,adapt=0"
    rows = fill(records, tmp_path / "page.md", f"chosen fastgrasp full dvqvae {variant}")
    assert [row[0].removeprefix("| ") for row in rows[:2]] == ["dvqvae", variant]
    assert [row[2] for row in rows[:2]] == ["12.35", "3.00"]
    assert rows[-1][0] == "| FastGrasp, whole" and rows[-1][2] == "5.23"
    rows = fill(records, tmp_path / "page.md", "compare fastgrasp full")
    assert not [row for row in rows if "steps" in row[0]]


def test_other_tables(records, tmp_path):
    path = tmp_path / "page.md"
    assert [cells[:2] for cells in fill(records, path, "views grasp_cvae")] == [
        ["| full", "none"],
        ["| full", "quick"],
    ]
    objects = fill(records, path, "objects grasp_cvae quick")
    assert [cells[:2] for cells in objects] == [["| can", "0.13"], ["| mug", "7.00"]]
    protocols = fill(records, path, "protocols grasp_cvae quick")
    assert [cells[0] for cells in protocols] == [
        f"| `{name}`" for name in ("exact", "dvqvae", "grasptta", "fastgrasp")
    ]
    # The curve holds a value every 0.25 cm^3, here its own index.
    quality = fill(records, path, "quality")
    assert quality[0][2:] == ["2.0", "4.0", "8.0", "20.0", "40.0 |"]


def test_refined_grasps_stand_above_the_papers(records, tmp_path):
    for refiner, f1 in (("choir", 41.04), ("none", 1.96)):
        settings = Settings(task="refine", split="hands", refiner=refiner, num=2)
        results = {"summary": {"contact_f1_pct": f1}, "config": {"device": "cpu", "versions": {}}}
        records.add(settings, Evaluation([], results, 0.5))
    rows = fill(records, tmp_path / "page.md", "refine hands")
    assert [(cells[0], cells[4]) for cells in rows[:2]] == [
        ("| perturbed", "2.0"),
        ("| perturbed + choir", "41.0"),
    ]
    assert ["JointDiffusion" in cells[0] for cells in rows[-2:]] == [True, True]
    assert [cells[1:3] for cells in rows[-2:-1]] == [["27.69", "23.54"]]
    assert len(fill(records, tmp_path / "page.md", "compare dvqvae full")) == 3 + 5


def test_what_no_gpu_measured_is_said_and_what_one_did_is_shown(records, tmp_path):
    path = tmp_path / "page.md"
    assert fill(records, path, "gpu") == [] and "Not measured." in path.read_text()
    stages = [
        {"method": "completion by symmetry", "calls": 20, "seconds": {"cloud": 0.004}},
        {
            "method": "dvqvae + quick",
            "grasps": 256,
            "calls": 7,
            "seconds": {"cloud": 0.1, "generate": 0.02, "refine": 0.3, "rank": 0.0125},
            "memory_gb": 1.256,
        },
        {"method": "dvqvae", "grasps": 1024, "calls": 0, "seconds": {}, "memory": "not enough"},
    ]
    found = {
        "device": "A GPU",
        "machine": "16 cores",
        "torch": "2.13",
        "date": "2026-11-27",
        "command": "python benchmarks/gpu.py",
        "stages": stages,
        "training": [{"config": "dvqvae", "batch": 64, "steps": 30, "per_second": 12.345}],
        "agreement": [
            {"method": "dvqvae", "device": "cuda", "grasps": 48, "score": 0.5, "apart": 0.0},
            {"method": "dvqvae", "device": "cpu", "grasps": 48},
        ],
    }
    (records.folder / "gpu.json").write_text(json.dumps(found))
    rows = fill(records, path, "gpu")
    assert rows[0][:3] == ["| completion by symmetry", "–", "0.0040"]
    assert rows[1][:2] == ["| dvqvae + quick", "256"]
    assert rows[1][5:] == ["0.0125", "0.4325", "7", "1.26 |"]
    assert rows[2][6:] == ["–", "0", "not enough |"]
    text = path.read_text()
    assert "| dvqvae | 64 | 30 | 12.3 | – |" in text
    assert "| dvqvae | cuda | 48 | 0.500 | – | – | – | 0.000000 |" in text
    assert "| dvqvae | cpu | 48 | – | – | – | – | – |" in text
    assert "`python benchmarks/gpu.py`; A GPU, 16 cores, torch 2.13; 2026-11-27" in text


def test_an_unknown_table_is_refused_and_the_page_kept(records, tmp_path):
    path = tmp_path / "page.md"
    path.write_text("<!-- table: add full -->\nstale words\n<!-- end -->\n")
    with pytest.raises(ValueError, match="page.md: 'add full': no such table"):
        write_tables(records, [path])
    assert "stale words" in path.read_text()


def test_the_documentation_holds_what_was_measured(tmp_path):
    assert pages()
    for page in pages():
        (copy := tmp_path / "page.md").write_text(page.read_text())
        write_tables(Records(ROOT / "docs" / "results"), [copy])
        assert copy.read_text() == page.read_text(), page
