"""Python packages and console commands; `make setup` adds the ROS interfaces by CMakeLists.txt."""

from setuptools import find_packages, setup

# Any version that works, for an environment that brings its own (a ROS 2 installation's numpy);
# requirements.txt holds the ones that were tested.
PHYSICS = ["mujoco>=3.2", "pybullet"]  # no wheel of pybullet for Python 3.12: it is compiled
TABLES = ["pandas", "pyarrow", "tqdm"]
EXTRAS = {
    "evaluate": [*PHYSICS, *TABLES, "matplotlib>=3.10", "pillow", "scikit-learn", "scipy>=1.15"],
    "synthesize": [*PHYSICS, *TABLES],
    "train": [*TABLES, "lightning>=2.6", "pyyaml", "tensorboard"],
    "view": ["pillow"],
    "ray": ["ray"],
}

setup(
    name="grasp-gen",
    version="0.1.0",
    description="Human (MANO) hand grasps for object point clouds, with and without ROS 2",
    license="MIT",
    python_requires=">=3.10",
    package_dir={"": ".", "grasp_gen_training": "training"},
    packages=[
        *find_packages(include=["grasp_gen_core*", "grasp_gen_ros*"]),
        "grasp_gen_training",
    ],
    package_data={
        "grasp_gen_core": ["**/*.npz", "**/*.safetensors", "**/*.json", "**/*.md", "**/LICENSE*"],
        "grasp_gen_training": ["configs/*.yaml"],
    },
    # What generating needs; each command names the extra that it needs beyond.
    install_requires=[
        "diffusers>=0.30",
        "manifold3d",
        "numpy>=1.26",
        "open3d>=0.18",
        "safetensors",
        "scipy",
        "smplx>=0.1.28",
        "torch>=2.2",
        "trimesh>=4.5",
    ],
    extras_require=EXTRAS
    | {
        "fid": ["torchvision"],
        "all": sorted({name for names in EXTRAS.values() for name in names}),
    },
    entry_points={
        "console_scripts": [
            "grasp-gen = grasp_gen_core.cli:main",
            "grasp_generator = grasp_gen_ros.commands:grasp_generator",
            "scene_segmenter = grasp_gen_ros.commands:scene_segmenter",
            "object_cloud_publisher = grasp_gen_ros.commands:object_cloud_publisher",
            "example_planner = grasp_gen_ros.commands:example_planner",
            "grasp_demo = grasp_gen_ros.commands:grasp_demo",
        ]
    },
)
