"""franky-sim as a program of its own environment: an FCI server over MuJoCo with a cube to grasp.

Usage: fci_physics_peer.py ADDRESS TRACE. Keeps 1 kHz against an absolute clock, which the stock
loop does not. Writes a line of JSON to TRACE every 5 steps. Ends on SIGTERM.
"""

import json
import os
import signal
import sys
import time
import xml.etree.ElementTree as ET

from franky_sim.mujoco_simulator import MujocoSimulator
from franky_sim.simulation_server import SimulationServer

CUBE_M = (0.5, 0.1, 0.02)
HALF_M = 0.02


def add_cube(simulator):
    cube = ET.SubElement(
        simulator.worldbody, "body", name="cube", pos=" ".join(str(value) for value in CUBE_M)
    )
    ET.SubElement(cube, "freejoint", name="cube_joint")
    ET.SubElement(
        cube,
        "geom",
        type="box",
        size=f"{HALF_M} {HALF_M} {HALF_M}",
        mass="0.05",
        friction="1.5 0.01 0.001",
        condim="4",
        solref="0.01 1",
    )


if __name__ == "__main__":
    address, path = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    with MujocoSimulator() as simulator:
        robot = simulator.add_robot(initial_hand_width=0.08)
        add_cube(simulator)
        with (
            SimulationServer(simulator, hostname_candidates=[address]) as server,
            open(path, "w", buffering=1) as out,
        ):
            started, steps = time.monotonic(), 0
            while True:
                server.run_once(realtime=False)
                steps += 1
                now = time.monotonic()
                if steps % 5 == 0:
                    state = robot.inner_state
                    line = {
                        "s": now,
                        "q": list(state.q),
                        "dq": list(state.dq),
                        "sent": steps,
                        "cube": simulator.data.body("cube").xpos.tolist(),
                        "width": robot.hand_width,
                        "late_s": now - started - steps * 1e-3,
                    }
                    out.write(json.dumps(line) + "\n")
                ahead_s = started + steps * 1e-3 - now
                if ahead_s > 0:
                    time.sleep(ahead_s)
