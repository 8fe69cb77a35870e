"""Python packages and console commands; `make setup` adds the ROS interfaces by CMakeLists.txt."""

from setuptools import find_packages, setup

setup(
    name="grasp-gen",
    version="0.1.0",
    description="Human (MANO) hand grasps for object point clouds, with and without ROS 2",
    license="MIT",
    python_requires=">=3.10",
    # The folder itself goes on the path, which lets grasp_gen_ros join its generated messages.
    package_dir={"": "."},
    packages=find_packages(include=["grasp_gen_core*", "grasp_gen_ros*", "training*"]),
    package_data={
        "grasp_gen_core": ["**/*.npz", "**/*.safetensors", "**/*.json", "**/*.md", "**/LICENSE*"],
        "training": ["**/*.yaml"],
    },
    # Any version that works, for an environment that brings its own (a ROS 2 installation's numpy);
    # requirements.txt holds the ones that were tested.
    install_requires=[
        "diffusers>=0.30",
        "manifold3d",
        "mujoco>=3.2",
        "numpy>=1.26",
        "pandas",
        "pyarrow",
        "open3d>=0.18",
        "pillow",
        "pyyaml",
        "roma",
        "rtree",
        "safetensors",
        "scipy",
        "smplx>=0.1.28",
        "torch>=2.2",
        "tqdm",
        "trimesh>=4.5",
    ],
    extras_require={
        # pybullet has no wheel for Python 3.12 and later: there it is built from source.
        "evaluate": ["matplotlib>=3.10", "pybullet", "scikit-learn", "scipy>=1.15"],
        "fid": ["torchvision"],
        "ray": ["ray"],
        "train": ["lightning>=2.6", "tensorboard"],
    },
    entry_points={
        "console_scripts": [
            "grasp-gen = grasp_gen_core.cli:main",
            "grasp_generator = grasp_gen_ros.node:main",
            "object_cloud_publisher = grasp_gen_ros.cloud_publisher:main",
            "example_planner = grasp_gen_ros.example_planner:main",
            "grasp_demo = grasp_gen_ros.demo:main",
        ]
    },
)
