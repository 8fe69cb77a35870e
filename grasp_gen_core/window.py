"""A window on grasps."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

import open3d as o3d
import trimesh

from grasp_gen_core.errors import InputError
from grasp_gen_core.render import Cell
from grasp_gen_core.shading import is_veil, solid_part


def show(cells: Sequence[Cell]) -> None:
    """Open a window until it is closed; left and right arrow change what is shown.

    Args:
        cells: see `render.grasp_cells`.

    Raises:
        InputError: if there is no display to open a window on.
    """
    window = o3d.visualization.VisualizerWithKeyCallback()
    if not _has_display() or not window.create_window("grasp-gen view", 1000, 800):
        raise InputError("no display to open a window on: --render grasps.png writes a picture")
    window.get_render_option().mesh_shade_option = o3d.visualization.MeshShadeOption.Color
    index = 0

    def turn_to(step: int, first: bool = False) -> None:
        nonlocal index
        index = (index + step) % len(cells)
        print(f"{cells[index].label}, of {len(cells)}", file=sys.stderr)
        window.clear_geometries()
        for part in cells[index].parts:
            if is_veil(part):  # the window would show it opaque
                continue
            window.add_geometry(_open3d(solid_part(part)), reset_bounding_box=first)

    turn_to(0, first=True)
    window.register_key_callback(262, lambda _: turn_to(1))  # GLFW's arrow keys
    window.register_key_callback(263, lambda _: turn_to(-1))
    window.run()
    window.destroy_window()


def _has_display() -> bool:
    """Whether a window would be seen: open3d itself falls back to an invisible one."""
    x11 = ctypes.CDLL("libX11.so.6")  # needed by open3d, so there
    x11.XOpenDisplay.restype = ctypes.c_void_p
    return bool(os.environ.get("WAYLAND_DISPLAY") or x11.XOpenDisplay(None))


def _open3d(mesh: trimesh.Trimesh) -> o3d.geometry.TriangleMesh:
    vectors, triangles = o3d.utility.Vector3dVector, o3d.utility.Vector3iVector
    # trimesh's arrays are read-only, which open3d doesn't take: copies.
    shown = o3d.geometry.TriangleMesh(vectors(mesh.vertices + 0), triangles(mesh.faces + 0))
    shown.vertex_normals = vectors(mesh.vertex_normals + 0)
    shown.vertex_colors = vectors(mesh.visual.vertex_colors[:, :3] / 255)
    return shown.compute_triangle_normals()  # without them the window doesn't shade
