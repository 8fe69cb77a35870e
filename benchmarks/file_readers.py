"""Which library reads which dialects of mesh and cloud files right.

    pip install meshio plyfile pypcd4
    python benchmarks/file_readers.py

The dialects are those of test/objects/dialects.py: an L-shaped prism with concave lids, and a cloud
of 200 points. Each file is read in a process of its own, since some readers end theirs.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import platform
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import trimesh

from grasp_gen_core.objects import clouds, meshes

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test" / "objects"))
import dialects

RESULTS = ("right", "right, concave faces folded", "wrong", "refused", "crashed")


def ours_mesh(path: str) -> tuple:
    mesh = meshes.load_mesh(path)
    return mesh.vertices, mesh.faces


def ours_cloud(path: str) -> np.ndarray:
    return clouds.READERS[Path(path).suffix](Path(path))[0]


def trimesh_mesh(path: str) -> tuple:
    mesh = trimesh.load_mesh(path, process=False)
    return mesh.vertices, mesh.faces


def trimesh_cloud(path: str) -> np.ndarray:
    return trimesh.load(path).vertices


def open3d_mesh(path: str) -> tuple:
    import open3d as o3d

    mesh = o3d.io.read_triangle_mesh(path)
    return mesh.vertices, mesh.triangles


def open3d_tensor_mesh(path: str) -> tuple:
    import open3d as o3d

    mesh = o3d.t.io.read_triangle_mesh(path)
    return mesh.vertex.positions.numpy(), mesh.triangle.indices.numpy()


def open3d_cloud(path: str) -> np.ndarray:
    import open3d as o3d

    return np.asarray(o3d.io.read_point_cloud(path).points)


def open3d_tensor_cloud(path: str) -> np.ndarray:
    import open3d as o3d

    return o3d.t.io.read_point_cloud(path).point.positions.numpy()


def meshio_mesh(path: str) -> tuple:
    import meshio

    mesh = meshio.read(path)
    return mesh.points, fans(polygon for cells in mesh.cells for polygon in cells.data)


def plyfile_mesh(path: str) -> tuple:
    import plyfile

    file = plyfile.PlyData.read(path)
    name = next(n for n in file["face"].data.dtype.names if n.startswith("vertex_ind"))
    return np.stack([file["vertex"][axis] for axis in "xyz"], axis=1), fans(file["face"][name])


def pypcd4_cloud(path: str) -> np.ndarray:
    import pypcd4

    return pypcd4.PointCloud.from_path(path).numpy(("x", "y", "z"))


def numpy_cloud(path: str) -> np.ndarray:
    return np.loadtxt(path, usecols=(0, 1, 2))


def fans(polygons) -> list:
    return [[p[0], p[i], p[i + 1]] for p in polygons for i in range(1, len(p) - 1)]


MESH = {"here": ours_mesh, "trimesh": trimesh_mesh, "open3d": open3d_mesh, "meshio": meshio_mesh}
CLOUD = {"here": ours_cloud, "open3d": open3d_cloud, "open3d.t": open3d_tensor_cloud}
PLANS = {
    "obj": (dialects.OBJS, MESH | {"open3d.t": open3d_tensor_mesh}),
    "off": (dialects.OFFS, MESH),
    "ply": (dialects.PLYS, MESH | {"plyfile": plyfile_mesh}),
    "stl": (dialects.STLS, MESH),
    "glb": (dialects.GLBS, {k: MESH[k] for k in ("here", "trimesh", "open3d")}),
    "pcd": (dialects.PCDS, CLOUD | {"pypcd4": pypcd4_cloud}),
    "xyz": (dialects.XYZS, CLOUD | {"numpy": numpy_cloud, "trimesh": trimesh_cloud}),
}


def judge(read: Callable, path: str) -> str:
    """How a reader does with a file, as one of RESULTS."""
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return RESULTS[code] if code >= 0 else "crashed"
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    result = "refused"
    with contextlib.suppress(BaseException), contextlib.redirect_stdout(io.StringIO()):
        found = read(path)
        result = of_cloud(found) if read in CLOUDS else of_mesh(*found)
    os._exit(RESULTS.index(result))


def of_mesh(vertices: np.ndarray, faces: np.ndarray) -> str:
    mesh = trimesh.Trimesh(np.asarray(vertices, float), np.asarray(faces))
    if not (mesh.is_watertight and abs(mesh.volume - dialects.VOLUME) < 1e-6):
        return "wrong"
    return RESULTS[int(abs(mesh.area - dialects.AREA) > 1e-5)]


def of_cloud(points: np.ndarray) -> str:
    same = points.shape == dialects.CLOUD.shape and np.allclose(points, dialects.CLOUD, atol=1e-7)
    return "right" if same else "wrong"


CLOUDS = {read for suffix in ("pcd", "xyz") for read in PLANS[suffix][1].values()}


def main() -> None:
    warnings.simplefilter("ignore")
    names = ("trimesh", "open3d", "meshio", "plyfile", "pypcd4", "numpy")
    there = [name for name in names if importlib.util.find_spec(name)]
    for name in there:  # once, not in each process
        importlib.import_module(name)
    print(", ".join(f"{name} {version(name)}" for name in there))
    print(f"{platform.system()} {platform.machine()}, {date.today()}\n")
    print("| files | reader |", " | ".join(RESULTS), "|\n|", "--- |" * (2 + len(RESULTS)))
    with tempfile.TemporaryDirectory() as folder:
        for suffix, (table, readers) in PLANS.items():
            for name, read in readers.items():
                if name != "here" and name.partition(".")[0] not in there:
                    continue
                found = Counter()
                for dialect, data in table.items():
                    path = Path(folder) / f"{dialect}.{suffix}"
                    path.write_bytes(data)
                    found[judge(read, str(path))] += 1
                cells = " | ".join(str(found[result] or "") for result in RESULTS)
                print(f"| {len(table)} .{suffix} | {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
