"""An operator as a process: once it is handed the arm, it swings the TCP along y at 0.1 m/s.

It sets out towards the middle of the bench, wherever it was killed before. Run as
`python -m fake_source`, with the parameter `source`. With `camera`, it is a camera instead, which
publishes grey frames and its information at 20 Hz.
"""

import math
import time

import numpy as np
from geometry_msgs.msg import PoseStamped
from rlco.nodes import topics, wire
from rlco.nodes.guard import STATE_QOS
from rlco.nodes.runtime import RlcoNode, main, state_qos
from rlco_msgs.msg import GuardState
from sensor_msgs.msg import CameraInfo, Image

AMPLITUDE_M, SPEED_M_S = 0.08, 0.1
FRAME = np.full((240, 320, 3), 128, np.uint8)


class Source(RlcoNode):
    def __init__(self):
        super().__init__("fake_source")
        self._source = self.declare_parameter("source", "teleop").value
        self._camera = self.declare_parameter("camera", "").value
        best_effort = state_qos(lock_step=False)
        self._state = self._pose = self._start = None
        if self._camera:
            info, image = topics.camera_info(self._camera), topics.image(self._camera)
            self._info_out = self.create_publisher(CameraInfo, info, best_effort)
            self._image_out = self.create_publisher(Image, image, best_effort)
            self._ticks = [self.wall_timer(0.05, self._capture)]
            return
        self._out = self.create_publisher(PoseStamped, topics.source_pose(self._source), 10)
        self.create_subscription(PoseStamped, topics.POSE, self._on_pose, best_effort)
        self.create_subscription(GuardState, topics.GUARD_STATE, self._on_state, STATE_QOS)
        self._ticks = [self.wall_timer(0.05, self._command)]

    def _capture(self):
        stamp_ns = self.get_clock().now().nanoseconds
        self._info_out.publish(CameraInfo())
        self._image_out.publish(wire.image_message(FRAME, self._camera, stamp_ns))

    def _on_pose(self, message):
        self._pose = wire.pose_matrix(message.pose)

    def _on_state(self, message):
        previous, self._state = self._state, message
        if previous is None or previous.handed_over != message.handed_over:
            self._start = None

    def _command(self):
        state = self._state
        if state is None or state.stopped or state.source != self._source or self._pose is None:
            return
        if self._start is None:
            self._start = (time.monotonic(), self._pose.copy())
        started_s, pose = self._start
        angle = (time.monotonic() - started_s) * SPEED_M_S / AMPLITUDE_M
        target = pose.copy()
        target[1, 3] -= math.copysign(AMPLITUDE_M, pose[1, 3]) * math.sin(angle)
        self._out.publish(wire.stamped_pose(target, self.get_clock().now().nanoseconds))


if __name__ == "__main__":
    main(Source)
