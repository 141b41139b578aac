"""Camera frames: into a message, out of it, and through the camera node to a listener.

The peer of the first two is what the message's own type checks make of an ndarray, and a copy; that
of the node is the rate that was asked for.

python benchmarks/cameras.py --json cameras.json
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import rclpy
import tyro
from _rows import Row, report, row
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rlco.bringup import environment
from rlco.core.clock_mapping import ClockMapping
from rlco.nodes import topics, wire
from rlco.nodes.runtime import state_qos
from sensor_msgs.msg import Image

HEIGHT, WIDTH = 480, 640
DISCOVERY_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Measure the path of camera frames; prints a table."""

    frames: int = 300
    """Frames to receive from the camera node."""
    rate_hz: int = 30
    """Frames a second of the camera node."""
    domain: int = 96
    """ROS_DOMAIN_ID to use."""
    json: Path | None = None
    """Where to write the rows."""


def median_ms(action: Callable[[], object], n: int) -> float:
    """Return the median time of an action (ms), after one to warm up."""
    action()
    times = []
    for _ in range(n):
        begun = time.perf_counter()
        action()
        times.append(time.perf_counter() - begun)
    return float(np.median(times)) * 1e3


def conversions() -> list[Row]:
    """Return how long a 640x480 frame takes into a message and out of it."""
    frame = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    message = wire.image_message(frame, "frame", 0)
    plain = Image(height=HEIGHT, width=WIDTH)

    def assign() -> None:
        plain.data = frame.reshape(-1)

    def copied() -> NDArray[np.uint8]:
        return np.array(message.data, np.uint8).reshape(HEIGHT, WIDTH, 3)

    mapping, now_ns = ClockMapping(), time.time_ns()

    def one_stamp() -> None:
        nonlocal now_ns
        now_ns += 33_333_333
        mapping.stamp_ns(now_ns - 10**18, now_ns)

    return [
        row(
            "frame into a message (peer: assign the ndarray)",
            median_ms(lambda: wire.image_message(frame, "frame", 0), 200),
            median_ms(assign, 10),
            *("ms", 200),
        ),
        row(
            "message into a frame (peer: copy)",
            median_ms(lambda: wire.image_array(message), 200),
            median_ms(copied, 200),
            *("ms", 200),
        ),
        row(
            "device clock to ROS time (peer: the frame's period)",
            median_ms(one_stamp, 1000),
            1000 / 30,
            *("ms", 1000),
        ),
    ]


def write_video(path: Path) -> None:
    """Write a second of noise as MJPEG."""
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (WIDTH, HEIGHT))
    for _ in range(30):
        small = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
        writer.write(cv2.resize(small, (WIDTH, HEIGHT)))
    writer.release()


def through_the_node(arguments: Arguments, folder: Path) -> list[Row]:
    """Return rate and age of the frames that a listener gets from the camera node."""
    write_video(folder / "video.avi")
    parameters = {
        **{"name": "bench", "driver": "uvc", "device": folder / "video.avi"},
        **{"width": WIDTH, "height": HEIGHT, "rate_hz": arguments.rate_hz},
    }
    words = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    camera = subprocess.Popen([sys.executable, "-m", "rlco.nodes.camera", "--ros-args", *words])
    rclpy.init()
    node = rclpy.create_node("listener")
    stamps: list[int] = []
    ages_ms: list[float] = []

    def on_image(message: Image) -> None:
        wire.image_array(message)
        stamps.append(wire.stamp_ns(message.header.stamp))
        ages_ms.append((node.get_clock().now().nanoseconds - stamps[-1]) / 1e6)

    node.create_subscription(
        Image, topics.image("bench"), on_image, state_qos(lock_step=False, depth=5)
    )
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    begun = time.monotonic()
    try:
        while len(stamps) < arguments.frames + 10:
            executor.spin_once(timeout_sec=0.1)
            if not stamps and time.monotonic() - begun > DISCOVERY_S:
                raise SystemExit("no frame came from the camera node")
    finally:
        camera.send_signal(signal.SIGINT)
        camera.wait(60)
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    seen, n = np.array(stamps[10:]), arguments.frames
    rate_hz = (len(seen) - 1) / (seen[-1] - seen[0]) * 1e9
    period_ms = 1e3 / arguments.rate_hz
    median = float(np.median(ages_ms[10:]))
    late_ms = float(np.percentile(ages_ms[10:], 99))
    return [
        row(
            "rate at a listener (peer: asked)", rate_hz, arguments.rate_hz, "Hz", n, better="higher"
        ),
        row("age on arrival, p50 (peer: a period)", median, period_ms, "ms", n),
        row("age on arrival, p99 (peer: a period)", late_ms, period_ms, "ms", n),
    ]


def main(arguments: Arguments) -> None:
    """Measure, print, and write the rows."""
    os.environ.update(environment({"domain": str(arguments.domain)}))
    with tempfile.TemporaryDirectory() as folder:
        rows = [*conversions(), *through_the_node(arguments, Path(folder))]
    report(rows, arguments.json)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
