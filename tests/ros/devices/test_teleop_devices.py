"""Teleoperation devices, each against the bytes of its protocol."""

import os
import pty
import struct
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from rlco.core.gestures import parse_bindings
from rlco.core.teleop import ACTIONS
from rlco.drivers.teleop import spacemouse
from rlco.drivers.teleop.desktop_keyboard import DesktopKeyboard
from rlco.drivers.teleop.device import DeviceLostError, DeviceSetupError
from rlco.drivers.teleop.gamepad import EVENT, Gamepad
from rlco.drivers.teleop.keyboard import TerminalKeyboard, parse
from rlco.drivers.teleop.make import make_device
from rlco.parameters import ParameterError, TeleopSettings

# --- SpaceMouse


class FakeHid:
    """The HID device that hidapi would give, its reports given by the test."""

    product_string, manufacturer_string, serial_number = "SpaceMouse Compact", "3Dconnexion", ""
    release_number = 1077

    def __init__(self):
        self.reports, self.unplugged, self.closed = [], False, False

    def open(self):
        pass

    def close(self):
        self.closed = True

    def read(self, size):
        from easyhid import HIDException

        if self.unplugged:
            raise HIDException("Failed to read from HID device: -1")
        report = self.reports.pop(0) if self.reports else b""
        # hidapi's wrapper pads a short report with zeros
        return bytearray(report.ljust(size, b"\0")) if report else bytearray()


def space_mouse(model):
    pyspacemouse = pytest.importorskip("pyspacemouse", reason="needs make setup-tests")
    from pyspacemouse.config_helpers import apply_axis_convention
    from pyspacemouse.device import SpaceMouseDevice
    from pyspacemouse.loader import get_device_specs

    convention = pyspacemouse.AxisConvention.ROS
    hid = FakeHid()
    mouse = SpaceMouseDevice(apply_axis_convention(get_device_specs()[model], convention), hid)
    mouse.open()
    device = spacemouse.SpaceMouse("", connect=lambda path: mouse)
    assert "3Dconnexion" in device.open()
    return device, hid


def translation(x, y, z):
    """USB HID usage tables, 4.2: x right, y towards the operator, z down."""
    return struct.pack("<Bhhh", 1, x, y, z)


def rotation(x, y, z):
    return struct.pack("<Bhhh", 2, x, y, z)


def buttons(mask):
    return struct.pack("<BH", 3, mask)


@pytest.mark.parametrize(
    ("report", "axes"),
    [
        (translation(0, -350, 0), [1, 0, 0, 0, 0, 0]),  # pushed away: forward
        (translation(-350, 0, 0), [0, 1, 0, 0, 0, 0]),  # pushed left
        (translation(0, 0, -350), [0, 0, 1, 0, 0, 0]),  # pulled up
        (rotation(0, -350, 0), [0, 0, 0, 1, 0, 0]),  # tipped about forward
        (rotation(-350, 0, 0), [0, 0, 0, 0, 1, 0]),  # tipped about left
        (rotation(0, 0, -350), [0, 0, 0, 0, 0, 1]),  # twisted counterclockwise
        (translation(175, 0, 0), [0, -0.5, 0, 0, 0, 0]),
    ],
)
def test_a_space_mouse_report_is_motion_in_ros_axes(report, axes):
    device, hid = space_mouse("SpaceMouseCompact")
    hid.reports.append(report)
    np.testing.assert_allclose(device.read().axes, axes, atol=1e-9)


def test_every_waiting_report_is_taken_and_the_state_stays():
    device, hid = space_mouse("SpaceMouseCompact")
    hid.reports += [translation(0, -35 * n, 0) for n in range(1, 11)]
    hid.reports += [rotation(0, 0, 350), buttons(0b01)]
    reading = device.read()
    np.testing.assert_allclose(reading.axes, [1, 0, 0, 0, 0, -1], atol=1e-9)
    assert reading.held == {"left"}
    assert not hid.reports
    hid.reports.append(buttons(0b10))
    again = device.read()
    np.testing.assert_allclose(again.axes, reading.axes)
    assert again.held == {"right"}
    hid.reports += [translation(0, 0, 0), rotation(0, 0, 0), buttons(0)]
    assert not device.read().axes.any()
    device.close()
    assert hid.closed


def test_a_wireless_model_sends_both_in_one_report_of_13_bytes():
    device, hid = space_mouse("SpaceMouseProWireless")
    hid.reports.append(struct.pack("<Bhhhhhh", 1, 0, -350, 0, 0, 0, -175))
    np.testing.assert_allclose(device.read().axes, [1, 0, 0, 0, 0, 0.5], atol=1e-9)


def test_an_unplugged_space_mouse_is_told():
    device, hid = space_mouse("SpaceMouseCompact")
    hid.unplugged = True
    with pytest.raises(DeviceLostError, match=r"the SpaceMouse is gone.*Check its cable"):
        device.read()


def test_no_space_mouse_here_and_no_library(monkeypatch):
    pytest.importorskip("pyspacemouse", reason="needs make setup-tests")
    with pytest.raises(DeviceLostError, match=r"no SpaceMouse at any port.*udev"):
        spacemouse.SpaceMouse("").open()
    with pytest.raises(DeviceLostError, match="no SpaceMouse at /dev/hidraw77"):
        spacemouse.SpaceMouse("/dev/hidraw77").open()
    monkeypatch.setitem(sys.modules, "pyspacemouse", None)
    with pytest.raises(DeviceSetupError, match=r"rlco\[teleop\].*libhidapi-hidraw0"):
        spacemouse.SpaceMouse("").open()


# --- keyboards


@pytest.fixture
def terminal():
    master, slave = pty.openpty()
    clock = SimpleNamespace(now_s=0.0)
    keyboard = TerminalKeyboard(descriptor=slave, clock_s=lambda: clock.now_s)
    keyboard.open()
    yield keyboard, master, clock
    keyboard.close()
    os.close(master)
    os.close(slave)


def typed(terminal, data, wait_s=0.0):
    keyboard, master, clock = terminal
    clock.now_s += wait_s
    os.write(master, data)
    deadline = time.monotonic() + 180
    reading = keyboard.read()
    while data and not reading.held and time.monotonic() < deadline:
        reading = keyboard.read()
    return reading


def test_typed_keys_move_the_arm_until_they_are_no_longer_repeated(terminal):
    reading = typed(terminal, b"w")
    assert reading.held == {"w"}
    np.testing.assert_allclose(reading.axes, [1, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(typed(terminal, b"W\x1b[D", 0.1).axes, [1, 1, 0, 0, 0, 0])
    keyboard, _, clock = terminal
    clock.now_s += 0.13
    assert not keyboard.read().axes.any()


def test_a_button_key_held_down_counts_once(terminal):
    keyboard, _, clock = terminal
    assert typed(terminal, b" ").held == {"space"}
    clock.now_s += 0.5  # the terminal begins to repeat
    assert keyboard.read().held == {"space"}
    assert typed(terminal, b" ").held == {"space"}
    clock.now_s += 0.71
    assert not keyboard.read().held


def test_the_terminal_does_not_echo_and_is_given_back(terminal):
    import termios

    keyboard, master, _ = terminal
    typed(terminal, b"w")
    os.set_blocking(master, False)
    with pytest.raises(BlockingIOError):
        os.read(master, 10)
    before = termios.tcgetattr(master)[3]
    keyboard.close()
    assert not before & termios.ECHO
    assert termios.tcgetattr(master)[3] & termios.ECHO


def test_a_keyboard_needs_a_terminal_and_tells_when_it_ends():
    read_end, write_end = os.pipe()
    with pytest.raises(DeviceSetupError, match="needs a terminal"):
        TerminalKeyboard(descriptor=read_end).open()
    os.close(read_end)
    os.close(write_end)
    master, slave = pty.openpty()
    keyboard = TerminalKeyboard(descriptor=slave)
    keyboard.open()
    os.close(master)
    with pytest.raises(DeviceLostError, match="the terminal"):
        keyboard.read()
    os.close(slave)


def test_special_keys_have_names():
    assert parse(b"\x1b[A\x1b[B\x1b \r\x7f+-\tQ") == [
        *("up", "down", "esc", "space", "enter", "backspace", "plus", "minus", "tab", "q")
    ]


def test_desktop_keys_go_up_when_they_are_let_go():
    clock = SimpleNamespace(now_s=0.0)
    keyboard = DesktopKeyboard(clock_s=lambda: clock.now_s)
    w, escape = SimpleNamespace(char="w"), SimpleNamespace(name="esc")
    keyboard.press(w)
    keyboard.press(escape)
    assert keyboard.read().held == {"w", "esc"}
    keyboard.release(w)
    keyboard.press(w)  # X repeats a held key so
    assert keyboard.read().held == {"w", "esc"}
    keyboard.release(escape)
    assert keyboard.read().held == {"w", "esc"}
    clock.now_s += 0.05
    assert keyboard.read().held == {"w"}
    keyboard.press(escape)
    keyboard.release(escape)
    clock.now_s += 0.05
    assert "esc" in keyboard.read().held, "a tap between two looks counts"
    assert "esc" not in keyboard.read().held


def test_without_pynput_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynput", None)
    with pytest.raises(DeviceSetupError, match=r"rlco\[teleop\].*over ssh choose keyboard"):
        DesktopKeyboard().open()


# --- gamepad


@pytest.fixture
def pad(tmp_path):
    path = tmp_path / "js0"
    os.mkfifo(path)
    device = Gamepad(str(path), "xbox")
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # so that the writer can be opened
    writer = os.open(path, os.O_WRONLY)
    device.open()
    os.close(reader)
    yield device, writer
    device.close()


def axis(number, value, init=0):
    return EVENT.pack(1000, value, 0x02 | init, number)


def button(number, down, init=0):
    return EVENT.pack(1000, down, 0x01 | init, number)


def test_gamepad_events_are_motion_and_buttons(pad):
    device, writer = pad
    at_rest = [axis(n, -32767 if n in (2, 5) else 0, 0x80) for n in range(8)]
    os.write(writer, b"".join([*at_rest, *(button(n, 0, 0x80) for n in range(11))]))
    assert not device.read().axes.any()
    os.write(writer, axis(1, -32767) + axis(0, 16384) + axis(5, 32767) + button(4, 1))
    reading = device.read()
    np.testing.assert_allclose(reading.axes, [1, -0.5, 1, 0, 0, 0], atol=1e-4)
    assert reading.held == {"lb"}
    os.write(writer, axis(1, 0) + axis(3, 32767) + axis(4, -32768) + axis(6, -32767))
    np.testing.assert_allclose(device.read().axes, [0, -0.5, 1, -1, 1, -1], atol=1e-4)
    os.write(writer, button(4, 0) + button(0, 1) + button(40, 1))
    assert device.read().held == {"a"}


def test_a_tap_between_two_looks_counts_once(pad):
    device, writer = pad
    os.write(writer, button(7, 1) + button(7, 0))
    assert device.read().held == {"start"}
    assert not device.read().held
    mouse, hid = space_mouse("SpaceMouseCompact")
    hid.reports += [buttons(0b01), buttons(0)]
    assert mouse.read().held == {"left"}
    assert not mouse.read().held


def test_half_an_event_waits_for_its_other_half(pad):
    device, writer = pad
    event = axis(1, -32767)
    os.write(writer, event[:3])
    assert not device.read().axes.any()
    os.write(writer, event[3:] + button(0, 1)[:7])
    assert device.read().axes[0] == 1.0
    os.write(writer, button(0, 1)[7:])
    assert device.read().held == {"a"}


def test_a_gamepad_that_goes_is_told(pad, tmp_path):
    device, writer = pad
    os.close(writer)
    with pytest.raises(DeviceLostError, match="js0 is gone"):
        device.read()
    with pytest.raises(DeviceLostError, match=r"js9 cannot be opened.*joydev"):
        Gamepad(str(tmp_path / "js9"), "playstation").open()


# --- all


@pytest.mark.parametrize(
    "device", ["spacemouse", "keyboard", "desktop_keyboard", "gamepad", "gello"]
)
def test_every_device_is_made_and_its_own_bindings_can_be_read(device):
    if device == "gello":
        pytest.importorskip("dynamixel_sdk", reason="needs make setup-tests")
    made = make_device(TeleopSettings(device=device, path="/dev/null"))
    bindings = parse_bindings(made.default_bindings, ACTIONS)
    if made.default_clutch != "always":
        assert "clutch" in bindings.values()
    if device == "gamepad":
        assert bindings["b"] == "stop"
        assert not any("b" in name.split("+") and name != "b" for name in bindings)
        assert "b.long" not in bindings, "a stop must not wait for the button to come up"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"device": "wheel"}, "'device' must be one of spacemouse, keyboard"),
        ({"device": "gamepad"}, "'path' must be set"),
        ({"clutch": "foot"}, "'clutch' must be one of hold, toggle, always"),
        ({"device": "gello", "path": "x", "servo_ids": (1, 2)}, "'servo_ids' must have 7 values"),
        ({"device": "gello", "path": "x", "gripper_servo_id": 3}, "an ID of its own"),
        ({"device": "gello", "path": "x", "joint_signs": (0.5,) * 7}, "joint_signs must be 1 or"),
        (
            {"device": "gello", "path": "x", "trigger_open_rad": 2.7},
            "trigger_open_rad and trigger_closed_rad must differ",
        ),
    ],
)
def test_impossible_settings_are_refused(changes, told):
    with pytest.raises(ParameterError, match=told):
        TeleopSettings(**changes)
