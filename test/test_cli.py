"""`grasp-gen` as its users meet it: files in, files out, exit codes and messages."""

import os
import subprocess
import sys
from importlib.metadata import requires

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from grasp_gen_core.cli import main
from grasp_gen_core.generators import WEIGHTS
from grasp_gen_core.hand import ManoHand
from grasp_gen_core.types import GraspSet

needs_weights = pytest.mark.skipif(
    not (WEIGHTS / "grasp_cvae" / "model.safetensors").exists(), reason="no trained weights here"
)


def run(*arguments, cwd=None, **environment):
    command = [sys.executable, "-m", "grasp_gen_core.cli", *map(str, arguments)]
    root = os.path.dirname(os.path.dirname(__file__))
    env = os.environ | {"PYTHONPATH": root} | environment
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A can as a mesh and as a cloud, off the origin, and files that are neither."""
    folder = tmp_path_factory.mktemp("cli")
    can = trimesh.creation.cylinder(radius=0.033, height=0.12)
    can.apply_translation((0.5, -0.2, 0.8))
    can.export(folder / "can.ply")
    points, _ = trimesh.sample.sample_surface(can, 3000, seed=0)
    np.savez(folder / "can.npz", points=points.astype(np.float32))
    np.save(folder / "millimetres.npy", 1000 * points)
    np.save(folder / "flat.npy", points[:, :2])
    np.save(folder / "few.npy", points[:10])
    np.savez(folder / "pickled.npz", points=np.array([{}], dtype=object))
    (folder / "broken.ply").write_text("ply\nformat ascii 1.0\nelement vertex 9\n")
    (folder / "notes.txt").write_text("no object")
    return folder


def test_help_is_quick_and_complete():
    shown = run("--help")
    assert shown.returncode == 0 and not shown.stderr
    for name in ("generate", "view", "synthesize", "train", "bench"):
        assert name in shown.stdout
    lean = (
        "import sys, grasp_gen_core.cli; assert not {'torch', 'open3d', 'trimesh'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", lean], check=True)
    options = run("generate", "--help").stdout
    for name in "num generator refiner seed device hand side out render glb quiet".split():
        assert f"--{name}" in options


GOOD = "{folder}/can.ply"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "COMMAND"),
        ("grasp", "invalid choice"),
        ("generate", "OBJECT"),
        (f"generate {GOOD} --num 0", "--num: 0, accepted is 1 or more"),
        (f"generate {GOOD} --num many", "--num: 'many', accepted are whole numbers"),
        (f"generate {GOOD} --seed -1", "--seed"),
        (f"generate {GOOD} --side both", "--side"),
        (f"generate {GOOD} --device abacus", "device: 'abacus', accepted are auto"),
        (f"generate {GOOD} --generator magic", "generator: 'magic', accepted are grasp_cvae"),
        (f"generate {GOOD} --refiner magic", "refiner: 'magic', accepted are"),
        (f"generate {GOOD} --hand {{folder}}/absent.pkl", "absent.pkl: no such file"),
        (f"generate {GOOD} --hand {{folder}}/notes.txt", "notes.txt: not a MANO hand"),
        (f"generate {GOOD} --out {{folder}}/absent/g.npz", "absent does not exist"),
        (f"generate {GOOD} --out {{folder}}", "accepted is a name that ends in .npz"),
        (
            f"generate {GOOD} --render {{folder}}/g.jpg",
            "g.jpg: accepted is a name that ends in .png",
        ),
        (f"generate {GOOD} --glb {{folder}}/absent/g.glb", "absent does not exist"),
        ("generate {folder}/absent.ply", "absent.ply"),
        ("generate {folder}/notes.txt", "notes.txt"),
        ("generate {folder}/broken.ply", "broken.ply"),
        ("generate {folder}/pickled.npz", "pickled.npz"),
        ("generate {folder}/millimetres.npy", "metres"),
        ("generate {folder}/flat.npy", "(N, 3)"),
        ("generate {folder}/few.npy", "64"),
        ("view {folder}/absent.npz", "absent.npz"),
        ("view {folder}/can.npz", "can.npz: lacks vertices, faces, joints"),
        ("view {folder}/notes.txt --render {folder}/g.png", "notes.txt: not a readable .npz"),
        ("synthesize --objects {folder}/none --count 5 --out {folder}/set", "none: no mesh files"),
        ("synthesize --objects procedural --count 0 --out {folder}/set", "--count: 0"),
        ("synthesize --objects procedural --count 1 --out {folder}/a/b", "does not exist"),
        ("synthesize --objects procedural --count 1 --out {folder}/can.ply", "not a folder"),
        ("train {folder}/absent.yaml", "absent.yaml: not a readable YAML"),
        ("bench {folder}/absent.ply", "absent.ply"),
        ("bench --repeat 0", "--repeat: 0"),
    ],
)
def test_bad_input_is_told_in_one_line(folder, arguments, words, capsys):
    try:
        code = main(arguments.format(folder=folder).split())
    except SystemExit as stopped:  # argparse's way out
        code = stopped.code
    lines = capsys.readouterr().err.splitlines()
    assert code == 2 and len(lines) == 1, lines
    assert lines[0].startswith("grasp-gen: error: ") and words in lines[0]


def test_process_ends_with_the_code(folder):
    done = run("generate", folder / "absent.ply")
    assert done.returncode == 2 and not done.stdout
    assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr


def test_view_says_when_there_is_no_display(folder):
    path = folder / "grasps.npz"
    resting_hand().save(path)
    hidden = {"DISPLAY": "", "WAYLAND_DISPLAY": ""}
    shown = run("view", path, **hidden)
    assert shown.returncode == 2
    assert "no display" in shown.stderr and "--render" in shown.stderr
    assert main(["view", str(path), "--render", str(folder / "view.png"), "--count", "1"]) == 0
    assert Image.open(folder / "view.png").size[0] == 1200


def test_view_takes_what_score_takes(folder, tmp_path, capsys):
    """Hands of anybody, with vertices, faces and joints alone; the object where it is given."""
    hand = resting_hand()
    np.savez(tmp_path / "h.npz", vertices=hand.vertices, faces=hand.faces, joints=hand.joints)
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.03)
    ball.apply_translation(hand.joints[0, 4] - (0, 0.05, 0)).export(tmp_path / "ball.ply")
    blue = []
    for more in ([], ["--object", str(tmp_path / "ball.ply")]):
        path = tmp_path / "h.png"
        assert main(["view", str(tmp_path / "h.npz"), "--render", str(path), *more]) == 0
        picture = np.asarray(Image.open(path)).astype(int)
        assert picture.shape[1] == 1200
        blue.append((picture[..., 2] > 1.2 * picture[..., 0]).sum())
    assert blue[0] == 0 and blue[1] > 1000
    said = capsys.readouterr().err.splitlines()
    assert said == [f"wrote {path}", f"wrote {path} ({path} replaced)"]


def test_score_says_how_joints_are_ordered():
    words = " ".join(run("score", "--help").stdout.split())
    assert "index, middle, little and ring finger and of the thumb" in words
    assert "then the tips of thumb, index, middle, ring, little" in words


@pytest.mark.parametrize(
    ("command", "lacks", "extra"),
    [
        ("evaluate --objects {folder}", "pandas", "evaluate"),
        ("score {folder}/grasps.npz --object {folder}/can.ply", "pandas", "evaluate"),
        ("synthesize --objects {folder} --count 1 --out {folder}/set", "pandas", "synthesize"),
        ("train dvqvae", "lightning", "train"),
        ("view {folder}/grasps.npz --render {folder}/v.png", "PIL", "view"),
        ("generate {folder}/can.ply --render {folder}/v.png", "PIL", "view"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(folder, command, lacks, extra):
    """The extra is one that the package has, and it brings what lacks."""
    resting_hand().save(folder / "grasps.npz")
    words = command.format(folder=folder).split()
    code = f"import sys; sys.modules[{lacks!r}] = None; from grasp_gen_core.cli import main;"
    code += f"sys.exit(main({words!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert f"needs {lacks}: pip install 'grasp-gen[{extra}]'" in done.stderr
    brought = [r for r in requires("grasp-gen") if f'extra == "{extra}"' in r.replace("'", '"')]
    assert any(r.lower().startswith({"PIL": "pillow"}.get(lacks, lacks)) for r in brought)


def resting_hand():
    """A file to look at, not a grasp: the rest pose beside some points."""
    hand, mano = ManoHand(), torch.zeros(1, 61)
    vertices, joints = (tensor.numpy() for tensor in hand(mano))
    return GraspSet(
        mano=mano.numpy(),
        vertices=vertices,
        faces=hand.faces.numpy(),
        joints=joints,
        points=vertices[0] - np.float32([0, 0.1, 0]),
        contact=np.zeros((1, 778), np.float32),
        score=np.ones(1, np.float32),
        side="right",
        wrist_pose=np.eye(4, dtype=np.float32)[None],
        approach=np.array([[0, -1, 0]], np.float32),
        pregrasp=mano.numpy(),
        squeeze=mano.numpy(),
        retreat=np.zeros((1, 3), np.float32),
    )


@needs_weights
@pytest.mark.parametrize(("name", "refiner"), [("can.ply", "quick"), ("can.npz", "none")])
def test_generate_writes_all_its_files(folder, tmp_path, name, refiner):
    options = ("--num", 4, "--refiner", refiner, "--render", "g.png", "--glb", "g.glb")
    done = run("generate", folder / name, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 grasps" in done.stderr and "grasps.npz, g.png, g.glb" in done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.split()[:2] == ["rank", "score"] and "penetration_depth_cm" in head
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "4"]

    file = dict(np.load(tmp_path / "grasps.npz", allow_pickle=False))
    count = len(file["points"])
    shapes = {
        "mano": (4, 61),
        "vertices": (4, 778, 3),
        "faces": (1538, 3),
        "joints": (4, 21, 3),
        "points": (count, 3),
        "contact": (4, count),
        "score": (4,),
        "side": (),
    }
    assert {key: file[key].shape for key in shapes} == shapes
    assert all(file[key].dtype == np.float32 for key in shapes if key not in ("faces", "side"))
    assert file["faces"].dtype.kind == "i" and file["side"] == "right"
    assert ((file["contact"] >= 0) & (file["contact"] <= 1)).all()
    assert ((file["score"] >= 0) & (file["score"] <= 1)).all() and (
        np.diff(file["score"]) <= 0
    ).all()
    low, high = trimesh.load(folder / "can.ply").bounds
    assert (file["points"] > low - 1e-3).all() and (file["points"] < high + 1e-3).all()
    reach = np.linalg.norm(file["vertices"].mean(1) - (low + high) / 2, axis=-1)
    assert (reach < 0.25).all(), "the hands are in the object's own frame"

    picture = np.asarray(Image.open(tmp_path / "g.png")).astype(int)
    red, green, blue = np.moveaxis(picture, -1, 0)
    skin, thing = (red > 1.2 * blue) & (red > 100), blue > 1.2 * red
    assert skin.mean() > 0.05 and thing.mean() > 0.02
    scene = trimesh.load(tmp_path / "g.glb")
    assert {"object_1", "grasp_1", "grasp_4"} <= set(scene.graph.nodes_geometry)
    assert main(["view", str(tmp_path / "grasps.npz"), "--render", str(tmp_path / "v.png")]) == 0


@needs_weights
@needs_weights
@pytest.mark.parametrize("name", ["can.npz", "can.ply"])
def test_grasps_need_no_open3d(folder, tmp_path, name):
    (tmp_path / "open3d.py").write_text("raise ImportError('not here')\n")
    path = os.pathsep.join([str(tmp_path), os.path.dirname(os.path.dirname(__file__))])
    options = ("--num", 2, "--device", "cpu", "--quiet")
    made = run("generate", folder / name, *options, cwd=tmp_path, PYTHONPATH=path)
    assert made.returncode == 0 and made.stderr == ""
    grasps = GraspSet.load(tmp_path / "grasps.npz")
    distance = np.linalg.norm(grasps.vertices[:, :, None] - grasps.points[::8], axis=3)
    assert distance.min(axis=(1, 2)).max() < 0.01


def test_same_seed_same_file(folder, tmp_path, capsys):
    def generate(seed, out):
        out = tmp_path / out
        options = f"--num 1 --seed {seed} --device cpu --quiet --out {out}".split()
        assert main(["generate", str(folder / "can.ply"), *options]) == 0
        return out.read_bytes()

    first = generate(5, "first.npz")
    assert first == generate(5, "again.npz") != generate(6, "other.npz")
    assert not capsys.readouterr().err, "--quiet"


@needs_weights
def test_left_hands_and_no_refiner(folder, tmp_path):
    options = ["--num", "2", "--side", "left", "--refiner", "none", "--device", "cpu"]
    path = tmp_path / "left.npz"
    assert main(["generate", str(folder / "can.npz"), *options, "--out", str(path)]) == 0
    assert GraspSet.load(path).side == "left"


@needs_weights
def test_bench_times_every_stage(capsys):
    assert main("bench --num 2 --repeat 2 --refiner none --device cpu".split()) == 0
    out, progress = capsys.readouterr()
    title, head, *rows = out.splitlines()
    assert "2 grasps, dvqvae + none, 2 calls on cpu" in title and "CPU threads" in title
    assert head.split() == ["stage", "min", "[s]", "median", "[s]"]
    times = {row.rsplit(maxsplit=2)[0]: [float(t) for t in row.split()[-2:]] for row in rows}
    assert all(0 <= low <= middle for low, middle in times.values())
    stages = [low for name, (low, _) in times.items() if name not in ("total", "per grasp")]
    assert stages and sum(stages) <= times["total"][0] + 0.001 * len(stages)
    assert "call 2 of 2" in progress


def test_bench_tells_what_the_hand_layer_takes_of_the_refinement(capsys):
    assert main("bench --num 2 --repeat 1 --quiet --device cpu".split()) == 0
    rows = (line.rsplit(maxsplit=2) for line in capsys.readouterr().out.splitlines()[2:])
    least = {name: float(low) for name, low, _ in rows}
    assert 0 < least["of refine, hand layer alone"] < least["refine"]


def test_values_of_a_config_may_stand_anywhere(folder, capsys):
    for words in (["a.b=1", "--steps", "2"], ["--steps", "2", "a.b=1"]):
        assert main(["train", str(folder / "absent.yaml"), *words]) == 2
        assert "absent.yaml: not a readable YAML" in capsys.readouterr().err
    for words in (["--step", "2", "--lr=1"], ["--steps", "2", "more"]):
        with pytest.raises(SystemExit) as stopped:
            main(["train", "x.yaml", *words])
        assert stopped.value.code == 2
        assert "unrecognized arguments" in capsys.readouterr().err


@needs_weights
def test_grasps_start_no_compiler(folder, tmp_path):
    """PyTorch's takes longer to load than 32 hands do."""
    words = ["generate", str(folder / "can.npz"), "--num", "1", "--out", str(tmp_path / "g.npz")]
    code = (
        f"import sys; from grasp_gen_core.cli import main; main({words});"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("error", ["ValueError('SVD did not converge')", "RuntimeError('no')"])
def test_bugs_keep_their_traceback(error):
    """Only what the package itself says of its input is the user's doing."""
    code = (
        "import sys, grasp_gen_core.cli as cli, grasp_gen_core.runtime as runtime\n"
        f"def broken(): raise {error}\n"
        "runtime.tune_allocator = broken\n"
        "sys.exit(cli.main(['bench', 'x.ply']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1] == error.replace("('", ": ").replace("')", "")
