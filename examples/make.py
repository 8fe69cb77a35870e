"""Makes the sample objects and the sample scene anew: python examples/make.py"""

from pathlib import Path

import numpy as np
import open3d as o3d

from grasp_gen_core.objects.camera import DepthCamera, random_view
from grasp_gen_core.objects.procedural import make_object
from grasp_gen_core.objects.procedural.scenes import make_scene

HERE, SEED, POINTS = Path(__file__).parent, 0, 6000
SCENE = 78  # four objects

mug = make_object("mug", SEED)
mug.export(HERE / "mug.ply")
points = DepthCamera().capture(mug, random_view(mug, SEED), SEED)  # in the camera's frame
points = np.random.default_rng(SEED).permutation(points)[:POINTS]
cloud = o3d.t.geometry.PointCloud(o3d.core.Tensor(points.astype(np.float32)))
o3d.t.io.write_point_cloud(str(HERE / "mug_camera.pcd"), cloud, compressed=True)

scene = make_scene(SCENE)
depth, _ = scene.photograph(SCENE)
depth_mm = np.round(1000 * depth).astype(np.uint16)
np.savez_compressed(HERE / "table.npz", depth_mm=depth_mm, K=scene.camera.matrix)
