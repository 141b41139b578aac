"""The desktop's keyboard against a real X server and keys sent through its XTEST extension."""

import os
import shutil
import subprocess
import sys
import textwrap

import pytest

SCRIPT = textwrap.dedent(
    """
    import time
    from pynput import keyboard
    from rlco.drivers.teleop.desktop_keyboard import DesktopKeyboard

    def until(condition):
        deadline = time.monotonic() + 120
        while not condition(device.read()):
            assert time.monotonic() < deadline, device.read().held
            time.sleep(0.005)

    device = DesktopKeyboard()
    print(device.open())
    typist = keyboard.Controller()
    typist.press("w")
    until(lambda reading: reading.held == {"w"} and reading.axes[0] == 1.0)
    typist.press(keyboard.Key.space)
    until(lambda reading: reading.held == {"w", "space"})
    typist.release("w")
    typist.release(keyboard.Key.space)
    until(lambda reading: not reading.held and not reading.axes.any())
    device.close()
    print("done")
    """
)


def test_keys_of_a_real_x_session(tmp_path):
    pytest.importorskip("evdev", reason="needs pynput (make setup-tests)")
    if shutil.which("Xvfb") is None:
        pytest.skip("needs Xvfb (make setup-tests)")
    read_end, write_end = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "64x48x24", "-nolisten", "tcp"],
        pass_fds=[write_end],
        stderr=subprocess.DEVNULL,
    )
    os.close(write_end)
    try:
        with os.fdopen(read_end) as numbers:
            display = numbers.readline().strip()
        assert display, "Xvfb did not start"
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "DISPLAY": f":{display}"},
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split("\n")[:2] == ["keyboard of the X session", "done"]
    finally:
        server.terminate()
        server.wait()
