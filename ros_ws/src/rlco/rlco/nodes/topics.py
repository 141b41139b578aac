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
SCENE_PROMPT = "scene/prompt"
SCENE_NOTE = "scene/note"
SCENE_MILESTONE = "scene/milestone"
START_EPISODE = "recorder/start"
STOP_EPISODE = "recorder/stop"
RECORDER_STATE = "recorder/state"
CAPTURE = "calibrate/capture"
CHECK_POLICY = "policy/check"
START_POLICY = "policy/start"
STOP_POLICY = "policy/stop"

GUARD_STATE = "guard/state"
ESTOP = "guard/estop"
SELECT_SOURCE = "guard/select"
STOP_GUARD = "guard/stop"
RESUME_GUARD = "guard/resume"
TELEOP_EVENT = "teleop/event"
ARM_STATUS = "arm/status"
RECOVER_ARM = "arm/recover"


def source_pose(source: str) -> str:
    """Return the topic on which a source, teleop or policy, asks the guard for a TCP pose."""
    return f"{source}/target_pose"


def source_gripper(source: str) -> str:
    """Return the topic on which a source asks the guard for a gripper opening."""
    return f"{source}/gripper_target"


def recorder(word: str) -> str:
    """Return the service that ends an episode: success, failure, discard or redo."""
    return f"recorder/{word}"


def scene(word: str) -> str:
    """Return the operator's service about a scene: ready, success, failure or discard."""
    return f"scene/{word}"


def board(place: str) -> str:
    """Return the lab's service that puts its ChArUco board somewhere: gripper, table or none."""
    return f"lab/board_{place}"


def image(camera: str) -> str:
    """Return the topic of a camera's frames."""
    return f"cameras/{camera}/image_raw"


def camera_info(camera: str) -> str:
    """Return the topic of a camera's intrinsics."""
    return f"cameras/{camera}/camera_info"


def depth(camera: str) -> str:
    """Return the topic of a camera's depth frames, aligned to its colour frames."""
    return f"cameras/{camera}/aligned_depth/image_raw"
