"""Every command of the README and the docs, read from the pages and run, with small sizes."""

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from grasp_gen_core.cli import build_parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "examples" / "README.md"]
CARDS = [
    *ROOT.glob("grasp_gen_core/generators/weights/*/README.md"),
    ROOT / "training/data/README.md",
]
COMMANDS = Path(sys.executable).parent
# What a test can't do, or CI does beside it, and why.
NOT_RUN = {
    "sudo apt-get": "needs root; .ci/run sets up with the same packages",
    "git clone": "names no address",
    "make demo": "run by .ci/run",
    "make test": "is what runs this",
    ". .venv/bin/activate": "the tests run in that environment",
    "pip install": ".ci/package installs the wheel",
    "python3 -m venv": "ROS 2's installation",
    "cd ": "ROS 2's installation",
    "colcon": "ROS 2's installation",
    "ros2": "test/ros/test_launch.py, where there is a ROS 2 installation",
    "python -m grasp_gen_training.results": "hours; test/training/test_results.py",
    "python -m grasp_gen_training.closing": "half an hour; test/training/test_closing.py",
}
# Sizes at which a command shows that it works, in place of the page's or added to it.
SIZES = {
    "generate": {"--num": "2"},
    "evaluate": {"--num": "2"},
    "bench": {"--num": "2", "--repeat": "1"},
    "imagine": {"--num": "2"},
    "view": {"--render": "view.png"},  # no display
    "train": {"--steps": "1", "--data": "few_grasps", "--device": "cpu"},
}
CLUSTER = "--ray"
VERBS = build_parser()._subparsers._group_actions[0].choices
SECONDS = 240


def blocks(page: Path) -> list[list[str]]:
    """The commands of each bash block, continued lines joined, comments left out."""
    found = []
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines()
        lines = [re.sub(r"(^|\s+)#.*", "", line) for line in lines]
        found.append([line for line in lines if line.strip()])
    return found


def inline(page: Path) -> list[str]:
    """Commands within the text."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return re.findall(r"`((?:grasp-gen|python|make) [^`]+)`", text)


def small(command: str) -> list[str]:
    """The words of a `grasp-gen` command, its sizes reduced."""
    words = shlex.split(command.replace("$YCB", "examples"))
    sizes = dict(SIZES.get(words[1], {}))
    if words[1] == "synthesize":
        sizes |= {"--count": "2", "--seed": "0"}
    for option, value in sizes.items():
        if option in words:
            words[words.index(option) + 1] = value
        else:
            words += [option, value]
    return [str(COMMANDS / words[0]), *words[1:]]


@pytest.fixture(scope="module")
def folders() -> dict[Path, Path]:
    """Where each page's commands run."""
    return {}


@pytest.fixture
def folder(page, folders, tmp_path_factory) -> Path:
    """As in a checkout, but what the page's commands write stays outside of it."""
    if page in folders:
        return folders[page]
    folder = folders[page] = tmp_path_factory.mktemp("docs")
    for name in ("examples", "training", "benchmarks", "docs"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(COMMANDS)
    table = pd.read_parquet(ROOT / "training" / "data" / "grasps.parquet")
    few = table[table["object"].isin(table["object"].unique()[:8])]
    (folder / "few_grasps").mkdir()
    few.to_parquet(folder / "few_grasps" / "grasps.parquet")
    held = pd.DataFrame({"grasp": range(len(few)), "holds": True})
    held.to_parquet(folder / "few_grasps" / "closing.parquet")
    return folder


def run(words: list[str], folder: Path) -> None:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"


def runnable() -> list:
    return [
        pytest.param(page, block, id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, block in enumerate(blocks(page))
    ]


@pytest.mark.parametrize(("page", "block"), runnable())
def test_commands_in_blocks_run(page, block, folder):
    nodes = []
    try:
        for command in block:
            if any(part.strip().startswith(tuple(NOT_RUN)) for part in command.split("&&")):
                continue
            if command.startswith(".venv/bin/"):
                nodes.append(command)
            elif command.startswith("grasp-gen"):
                if CLUSTER in command:
                    build_parser().parse_args(shlex.split(command)[1:])
                else:
                    run(small(command), folder)
            elif command.startswith("python -m grasp_gen_training.dataset_card"):
                run([sys.executable, *shlex.split(command)[1:], "--sample", "2"], folder)
            elif command.startswith("python "):
                run([sys.executable, *shlex.split(command)[1:]], folder)
            else:
                pytest.fail(f"{command}: neither run nor named as what can't be")
    finally:
        if nodes:
            run_nodes(nodes, folder)


def run_nodes(commands: list[str], folder: Path) -> None:
    """Start all at once, as in terminals side by side; the last one must end by itself, well."""
    pytest.importorskip("grasp_gen_ros.msg", reason="needs ROS 2 and the built interfaces")
    alone = {"ROS_DOMAIN_ID": str(101 + os.getpid() % 100)}
    alone |= {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    logs = [folder / f"node_{number}.log" for number in range(len(commands))]
    running = []
    for command, log in zip(commands, logs, strict=True):
        with open(log, "wb") as file:
            words = shlex.split(command)
            process = subprocess.Popen(
                words, cwd=folder, stdout=file, stderr=subprocess.STDOUT, env=os.environ | alone
            )
        running.append(process)
    try:
        assert running[-1].wait(SECONDS) == 0, logs[-1].read_text()
        assert "then grasp at" in logs[-1].read_text()
        assert all(process.poll() is None for process in running[:-1])
    finally:
        for process in running:
            process.terminate()
        deadline = time.monotonic() + 15
        for process in running:
            process.wait(max(0.1, deadline - time.monotonic()))


def in_text() -> list[tuple[Path, str]]:
    found = [(page, command) for page in [*PAGES, *CARDS] for command in inline(page)]
    cards = [(card, line) for card in CARDS for block in blocks(card) for line in block]
    return found + [(card, line) for card, line in cards if line.startswith("grasp-gen")]


@pytest.mark.parametrize(
    ("page", "command"),
    in_text(),
    ids=lambda value: value if isinstance(value, str) else value.parent.name,
)
def test_commands_in_the_text_are_understood(page, command):
    """Long ones and mere mentions: verbs and options must be known, files there."""
    words = shlex.split(command.replace("...", "").replace("<", "").replace(">", ""))
    if words[0] == "grasp-gen":
        options = VERBS[words[1]]._option_string_actions
        assert {word for word in words if word.startswith("--")} <= set(options)
    elif words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text()
    elif words[1] == "-m":
        path = words[2].replace("grasp_gen_training", "training").replace(".", "/") + ".py"
        assert (ROOT / path).is_file()
    else:
        assert (ROOT / words[1]).is_file()


def test_all_verbs_stand_in_the_readme():
    shown = " ".join(line for block in blocks(ROOT / "README.md") for line in block)
    assert set(re.findall(r"grasp-gen ([\w-]+)", shown)) == set(VERBS)


@pytest.mark.parametrize("page", [*PAGES, *CARDS], ids=lambda page: str(page.relative_to(ROOT)))
def test_linked_files_are_there(page):
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), link
