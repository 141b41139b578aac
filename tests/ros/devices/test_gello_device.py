"""GELLO against a chain of Dynamixel servos on a pty."""

import sys

import numpy as np
import pytest
from dynamixel_chain import Chain, crc16
from rlco.drivers.teleop import gello
from rlco.drivers.teleop.device import DeviceLostError, DeviceSetupError
from rlco.parameters import TeleopSettings

CENTRE = 2048


@pytest.fixture
def chain(monkeypatch):
    pytest.importorskip("dynamixel_sdk", reason="needs make setup-tests")
    # the far end is a thread of this process: on a busy machine it answers late
    monkeypatch.setattr("dynamixel_sdk.port_handler.LATENCY_TIMER", 300)
    made = Chain({servo: CENTRE for servo in range(1, 9)})
    yield made
    made.close()


def gello_settings(path, **changes):
    values = {
        "device": "gello",
        "path": path,
        "joint_offsets_rad": (np.pi,) * 7,
        "joint_signs": (1.0, -1.0, 1.0, 1.0, 1.0, -1.0, 1.0),
        "trigger_open_rad": np.pi + 0.5,
        "trigger_closed_rad": np.pi - 0.5,
    }
    return TeleopSettings(**(values | changes))


def test_gello_reads_every_joint_in_one_request(chain):
    device = gello.Gello(gello_settings(chain.path))
    assert "servos [1, 2, 3, 4, 5, 6, 7, 8]" in device.open()
    assert not any(chain.torque(servo) for servo in range(1, 9)), "the servos must be limp"
    reading = device.read()
    np.testing.assert_allclose(reading.joints_rad, np.zeros(7), atol=1e-9)
    assert reading.opening == pytest.approx(0.5)
    for servo, counts in ((1, 1024), (2, 1024), (7, -2048), (8, 4096)):
        chain.put(servo, CENTRE + counts)
    chain.requests.clear()
    reading = device.read()
    assert chain.requests == [(0xFE, 0x82)]
    expected = [np.pi / 2, -np.pi / 2, 0, 0, 0, 0, -np.pi]
    np.testing.assert_allclose(reading.joints_rad, expected, atol=1e-9)
    assert reading.opening == 1.0
    chain.put(1, -100)  # multi-turn positions are signed
    assert device.read().joints_rad[0] == pytest.approx(-100 * 2 * np.pi / 4096 - np.pi)
    device.close()


def test_a_silent_servo_is_named(chain):
    chain.mute = {5}
    device = gello.Gello(gello_settings(chain.path))
    with pytest.raises(DeviceLostError, match=r"servo 5 of GELLO .* does not answer.*baud rate"):
        device.open()
    device.close()


@pytest.mark.parametrize("fault", ["mute", "corrupt"])
def test_servos_that_stop_answering_or_garble_are_told(chain, fault):
    device = gello.Gello(gello_settings(chain.path))
    device.open()
    device.read()
    setattr(chain, fault, {3} if fault == "mute" else True)
    with pytest.raises(DeviceLostError, match="servos do not answer"):
        device.read()
    device.close()


def test_gello_without_a_trigger_port_or_library(chain, monkeypatch):
    device = gello.Gello(gello_settings(chain.path, gripper_servo_id=0))
    device.open()
    assert device.read().opening is None
    device.close()
    with pytest.raises(DeviceLostError, match=r"/dev/ttyUSB77 cannot be opened.*dialout"):
        gello.Gello(gello_settings("/dev/ttyUSB77")).open()
    monkeypatch.setitem(sys.modules, "dynamixel_sdk", None)
    with pytest.raises(DeviceSetupError, match=r"rlco\[teleop\]"):
        gello.Gello(gello_settings("x"))


def test_the_fake_chain_has_the_manuals_checksum():
    # ROBOTIS' e-manual, Protocol 2.0, "Ping": FF FF FD 00 01 03 00 01 19 4E
    assert crc16(bytes.fromhex("fffffd0001030001")) == 0x4E19
