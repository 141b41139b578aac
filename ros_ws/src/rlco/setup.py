"""Installs the ROS 2 package `rlco`: by colcon (ament_python), or by pip beside the ROS wheels.

The ROS packages it needs are named in package.xml. The executables of the nodes go to lib/rlco
either way, where `ros2 run` and launch files look for them; only the tools go on the PATH.
"""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def files(folder: str, pattern: str) -> list[str]:
    """Return the files of a folder beside this one, relative to it."""
    return sorted(str(path.relative_to(HERE)) for path in (HERE / folder).glob(pattern))


setup(
    name="rlco",
    version="0.1.0",
    description="The robot side of rlco: recorder, policy, evaluation and the simulated lab",
    license="Apache-2.0",
    python_requires=">=3.11,<3.13",
    packages=find_packages(include=["rlco", "rlco.*"]),
    package_data={"rlco": ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/rlco"]),
        ("share/rlco", ["package.xml"]),
        ("share/rlco/launch", files("launch", "*.launch.py")),
        ("share/rlco/config", files("config", "*")),
        ("lib/rlco", files("scripts", "*")),
    ],
    install_requires=[
        "numpy>=1.26",
        "opencv-python-headless>=4.10",
        "pyyaml>=6",
        "rosbags>=0.11",
        "rlco-calibration==0.1.0",
        "rlco-datasets==0.1.0",
        "rlco-evaluation==0.1.0",
        "rlco-policy-server==0.1.0",
        "scipy>=1.13",
        "tyro>=0.9",
    ],
    extras_require={
        "fci": ["franky-control>=2.0,<3"],
        "lab": ["rlco-trainer[sim]==0.1.0"],
        "realsense": ["pyrealsense2>=2.59"],
        "teleop": [
            "dynamixel-sdk>=4.1",
            "easyhid>=0.0.10",
            "pynput>=1.8",
            "pyserial>=3.5",
            "pyspacemouse>=2.1",
        ],
        "test": ["pytest"],
    },
    entry_points={
        "console_scripts": [
            "rlco-lab = rlco.lab.cli:main",
            "rlco-up = rlco.up:main",
        ]
    },
    zip_safe=True,
)
