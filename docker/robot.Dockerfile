# The lab PC: ROS 2 Jazzy, the rlco nodes and drivers. No torch, no simulator, no GPU.
# Build from the repository root:  docker compose build robot
FROM ros:jazzy-ros-base

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-colcon-common-extensions python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/rlco
COPY constraints.txt ./
COPY datasets datasets
COPY calibration calibration
COPY evaluation evaluation
COPY policy_server policy_server
RUN python3 -m venv --system-site-packages .venv \
    && .venv/bin/pip install --constraint constraints.txt \
        ./datasets ./calibration ./evaluation ./policy_server

# The system's packages that package.xml names; Python libraries came from pip above.
COPY ros_ws/src ros_ws/src
RUN apt-get update \
    && rosdep update --rosdistro jazzy \
    && rosdep install --from-paths ros_ws/src --ignore-src -r -y \
    && rm -rf /var/lib/apt/lists/*
# colcon runs in the virtual environment, so that the nodes start with its Python.
RUN source /opt/ros/jazzy/setup.bash \
    && cd ros_ws \
    && ../.venv/bin/python /usr/bin/colcon build \
    && source install/setup.bash \
    && ../.venv/bin/python -c "import cv2, rlco, rlco_msgs.srv, rlco_policy_server.client"

COPY docker/robot-entrypoint.sh /usr/local/bin/rlco-entrypoint
RUN useradd --create-home --groups dialout,video,plugdev rlco \
    && install -d -o rlco /runs
USER rlco
WORKDIR /runs
ENTRYPOINT ["rlco-entrypoint"]
CMD ["ros2", "launch", "rlco", "collect.launch.py", "--show-args"]
