#!/bin/bash
# Source ROS and the workspace, then become the command (so that it gets the container's signals).
set -eo pipefail
source /opt/ros/jazzy/setup.bash
source /opt/rlco/ros_ws/install/setup.bash
export PATH="/opt/rlco/.venv/bin:$PATH"
exec "$@"
