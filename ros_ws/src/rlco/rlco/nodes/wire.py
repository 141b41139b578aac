"""ROS messages to and from what the core speaks: numpy arrays, nanoseconds and rlco's own types.

Poses are `(4, 4)` in the robot base frame. ROS quaternions are (x, y, z, w); rlco's (w, x, y, z).
"""

from __future__ import annotations

import array
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
from numpy.typing import NDArray
from rlco_datasets.frames import pose_from_quaternion, quaternion_wxyz
from rlco_datasets.initial_condition import InitialCondition, ObjectPose
from rlco_msgs.msg import InitialCondition as InitialConditionMessage
from sensor_msgs.msg import CameraInfo, Image, JointState
from visualization_msgs.msg import Marker, MarkerArray

Array = NDArray[np.float64]

BASE_FRAME = "base"
GRIPPER_JOINT = "gripper_width"
FINGER_JOINTS = ("fr3_finger_joint1", "fr3_finger_joint2")
ARM_JOINTS = tuple(f"fr3_joint{number}" for number in range(1, 8))


class WireError(ValueError):
    """A message does not hold what its topic promises."""


def stamp_ns(stamp: Time) -> int:
    """Return a stamp in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def time_message(nanoseconds: int) -> Time:
    """Return nanoseconds as a stamp."""
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def pose_message(pose: Array) -> Pose:
    """Return a pose as a message."""
    message = Pose()
    position, rotation = message.position, message.orientation
    position.x, position.y, position.z = pose[:3, 3].tolist()
    rotation.w, rotation.x, rotation.y, rotation.z = quaternion_wxyz(pose[:3, :3]).tolist()
    return message


def pose_matrix(message: Pose) -> Array:
    """Return a message's pose.

    Raises:
        ValueError: if a value is not finite or the quaternion not of unit norm.
    """
    position, rotation = message.position, message.orientation
    return pose_from_quaternion(
        (position.x, position.y, position.z), (rotation.w, rotation.x, rotation.y, rotation.z)
    )


def stamped_pose(pose: Array, nanoseconds: int) -> PoseStamped:
    """Return a pose in the base frame with its stamp."""
    message = PoseStamped(pose=pose_message(pose))
    message.header.frame_id = BASE_FRAME
    message.header.stamp = time_message(nanoseconds)
    return message


def gripper_target(width_m: float, nanoseconds: int) -> JointState:
    """Return the command to open the gripper to a width."""
    return joint_state((GRIPPER_JOINT,), (width_m,), nanoseconds)


def gripper_target_width_m(message: JointState) -> float:
    """Return the opening width that a gripper command asks for.

    Raises:
        WireError: if it is not one finite `gripper_width`.
    """
    if list(message.name) != [GRIPPER_JOINT] or len(message.position) != 1:
        raise WireError(
            f"gripper target must have one name, {GRIPPER_JOINT!r}, and one position (m); got "
            f"names {list(message.name)} and positions {list(message.position)}"
        )
    return float(message.position[0])


def joint_state(names: tuple[str, ...], positions: Any, nanoseconds: int) -> JointState:
    """Return joint positions (rad or m) with their stamp."""
    message = JointState(name=list(names), position=[float(value) for value in positions])
    message.header.stamp = time_message(nanoseconds)
    return message


def fingers(width_m: float, nanoseconds: int) -> JointState:
    """Return the two finger joints at half the width each, as franka_ros2's gripper does."""
    return joint_state(FINGER_JOINTS, (width_m / 2, width_m / 2), nanoseconds)


def finger_width_m(message: JointState) -> float:
    """Return the opening between the fingers: the sum of the two finger joints.

    Raises:
        WireError: if there are not two fingers.
    """
    if len(message.position) != len(FINGER_JOINTS):
        raise WireError(
            f"expected two finger joints, got {list(message.name)} at {list(message.position)}"
        )
    return float(message.position[0] + message.position[1])


def image_message(frame: NDArray[np.uint8], frame_id: str, nanoseconds: int) -> Image:
    """Return an `(H, W, 3)` uint8 RGB frame as an rgb8 image.

    The bytes go through `array.array`: assigning an ndarray costs a thousand times more.
    """
    return _image(frame, "rgb8", frame_id, nanoseconds)


def depth_message(frame: NDArray[np.uint16], frame_id: str, nanoseconds: int) -> Image:
    """Return an `(H, W)` uint16 depth frame in millimetres as ROS's 16UC1 (REP 118)."""
    return _image(frame.astype("<u2", copy=False), "16UC1", frame_id, nanoseconds)


def _image(frame: NDArray[Any], encoding: str, frame_id: str, nanoseconds: int) -> Image:
    height, width = frame.shape[:2]
    step = frame[0].nbytes
    message = Image(height=height, width=width, encoding=encoding, step=step)
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(frame).data.cast("B"))
    message.data = data
    message.header.frame_id = frame_id
    message.header.stamp = time_message(nanoseconds)
    return message


def image_array(message: Image) -> NDArray[np.uint8]:
    """Return an rgb8 or bgr8 image as `(H, W, 3)` uint8 RGB, without a copy where that can be.

    Raises:
        WireError: if the encoding is another one or the data is short.
    """
    if message.encoding not in ("rgb8", "bgr8"):
        raise WireError(
            f"image encoding {message.encoding!r} is not supported; set the camera driver to rgb8"
        )
    rows = np.frombuffer(message.data, np.uint8)
    if rows.size != message.height * message.step or message.step < message.width * 3:
        raise WireError(
            f"image of {message.width}x{message.height} with step {message.step} has {rows.size} "
            "bytes. Check the camera driver."
        )
    frame = rows.reshape(message.height, message.step)[:, : message.width * 3]
    frame = frame.reshape(message.height, message.width, 3)
    return frame[..., ::-1] if message.encoding == "bgr8" else frame


class Pinhole(Protocol):
    """What `camera_info` needs of a camera: a twin's `CameraModel`, or a driver's intrinsics."""

    @property
    def width(self) -> int:
        """Frame width (pixels)."""

    @property
    def height(self) -> int:
        """Frame height (pixels)."""

    @property
    def intrinsics(self) -> Array:
        """The `(3, 3)` pinhole matrix (pixels)."""

    @property
    def distortion(self) -> tuple[float, float, float, float, float]:
        """OpenCV's (k1, k2, p1, p2, k3)."""


def camera_info(camera: Pinhole, frame_id: str, nanoseconds: int) -> CameraInfo:
    """Return a camera's intrinsics."""
    k = camera.intrinsics
    message = CameraInfo(
        height=camera.height,
        width=camera.width,
        distortion_model="plumb_bob",
        d=list(camera.distortion),
        k=k.reshape(-1).tolist(),
        r=np.eye(3).reshape(-1).tolist(),
        p=np.hstack([k, np.zeros((3, 1))]).reshape(-1).tolist(),
    )
    message.header.frame_id = frame_id
    message.header.stamp = time_message(nanoseconds)
    return message


def optical_frame(camera: str) -> str:
    """Return the TF frame of a camera's images: x right, y down, z forward."""
    return f"{camera}_optical_frame"


def object_markers(
    poses: Mapping[str, Array], sizes_m: Mapping[str, tuple[float, float, float]], nanoseconds: int
) -> MarkerArray:
    """Return object poses as boxes; `ns` is the object's name."""
    markers = []
    for name, pose in poses.items():
        marker = Marker(ns=name, type=Marker.CUBE, action=Marker.ADD, pose=pose_message(pose))
        marker.header.frame_id = BASE_FRAME
        marker.header.stamp = time_message(nanoseconds)
        marker.scale.x, marker.scale.y, marker.scale.z = (max(s, 1e-3) for s in sizes_m[name])
        marker.color.r, marker.color.g, marker.color.b, marker.color.a = 0.2, 0.6, 0.9, 0.8
        markers.append(marker)
    return MarkerArray(markers=markers)


def initial_condition_message(condition: InitialCondition) -> InitialConditionMessage:
    """Return an initial condition as a message that gives the same one back, bit for bit."""
    x, y, z = condition.tcp_position_m
    return InitialConditionMessage(
        task=condition.task,
        name=condition.name,
        object_names=[item.name for item in condition.objects],
        object_poses=[_object_pose(item) for item in condition.objects],
        tcp_position=Point(x=x, y=y, z=z),
        drawer_open=condition.drawer_open,
    )


def _object_pose(item: ObjectPose) -> Pose:
    (x, y, z), (qw, qx, qy, qz) = item.position_m, item.quaternion_wxyz
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=qw, x=qx, y=qy, z=qz))


def initial_condition(message: InitialConditionMessage) -> InitialCondition:
    """Return a message's initial condition.

    Raises:
        ValueError: if names and poses do not match or a value is impossible.
    """
    if len(message.object_names) != len(message.object_poses):
        raise WireError(
            f"initial condition {message.name!r} has {len(message.object_names)} names for "
            f"{len(message.object_poses)} poses"
        )
    tcp = message.tcp_position
    return InitialCondition(
        name=message.name,
        task=message.task,
        objects=tuple(
            ObjectPose(
                name=name,
                position_m=(pose.position.x, pose.position.y, pose.position.z),
                quaternion_wxyz=(
                    pose.orientation.w,
                    pose.orientation.x,
                    pose.orientation.y,
                    pose.orientation.z,
                ),
            )
            for name, pose in zip(message.object_names, message.object_poses, strict=True)
        ),
        tcp_position_m=(tcp.x, tcp.y, tcp.z),
        drawer_open=message.drawer_open,
    )
