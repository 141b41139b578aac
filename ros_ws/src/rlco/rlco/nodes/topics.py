"""The names of topics and services, relative to the namespace.

Commands are named as in crisp_controllers, state and gripper as in franka_ros2.
"""

TARGET_POSE = "target_pose"
GRIPPER_TARGET = "gripper/target"
OPERATOR_TARGET = "operator/target_pose"

POSE = "franka_robot_state_broadcaster/current_pose"
JOINTS = "franka_robot_state_broadcaster/measured_joint_states"
FINGERS = "franka_gripper/joint_states"
DIAGNOSTICS = "diagnostics"

OBJECTS = "lab/objects"
RESET_SCENE = "lab/reset_scene"
SCORE_TRIAL = "lab/score_trial"
START_EPISODE = "recorder/start"
STOP_EPISODE = "recorder/stop"
CHECK_POLICY = "policy/check"
START_POLICY = "policy/start"
STOP_POLICY = "policy/stop"


def image(camera: str) -> str:
    """Return the topic of a camera's frames."""
    return f"cameras/{camera}/image_raw"


def camera_info(camera: str) -> str:
    """Return the topic of a camera's intrinsics."""
    return f"cameras/{camera}/camera_info"
