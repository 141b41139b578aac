"""GELLO: a small arm of Dynamixel servos with the Franka's kinematics, held by the operator.

Speaks Protocol 2.0 by dynamixel-sdk: one group read of all present positions at each look. The
servos' torque is switched off, so that the arm can be moved by hand. Addresses and units are those
of ROBOTIS' X series (XL330, XL430).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rlco.core.teleop import Reading
from rlco.drivers.teleop.device import DeviceLostError, DeviceSetupError
from rlco.parameters.teleop import TeleopSettings

TORQUE_ENABLE, PRESENT_POSITION, POSITION_BYTES = 64, 132, 4
RAD_PER_COUNT = 2 * np.pi / 4096
TRIES = 3
"""The SDK waits 34 ms for an answer, which a busy computer may miss."""


def load_library() -> Any:
    """Return dynamixel_sdk.

    Raises:
        DeviceSetupError: if it is not installed, saying how to.
    """
    try:
        import dynamixel_sdk
    except ImportError as error:
        raise DeviceSetupError(
            f"the gello device needs dynamixel-sdk ({error}). Type: pip install 'rlco[teleop]'"
        ) from error
    return dynamixel_sdk


class Gello:
    """A GELLO arm on a serial port."""

    default_bindings = ""
    default_clutch = "always"

    def __init__(self, settings: TeleopSettings, *, load: Callable[[], Any] = load_library) -> None:
        """Take port, servos and their calibration."""
        self._settings = settings
        self._sdk = load()
        trigger = [settings.gripper_servo_id] if settings.gripper_servo_id else []
        self._ids = [*settings.servo_ids, *trigger]
        self._port: Any = None
        self._group: Any = None

    def open(self) -> str:
        """Open the port, find every servo and let it go limp."""
        from serial import SerialException

        sdk, settings = self._sdk, self._settings
        port = sdk.PortHandler(settings.path)
        port.baudrate = settings.baud
        try:
            opened = port.openPort()
        except (SerialException, OSError) as error:
            raise DeviceLostError(
                f"GELLO's port {settings.path} cannot be opened: {error}. Is it plugged in, and is "
                "this user in the group dialout?"
            ) from error
        if not opened:
            raise DeviceSetupError(f"baud rate {settings.baud} is not one that Dynamixels have")
        self._port = port
        packets = sdk.PacketHandler(2.0)
        self._group = sdk.GroupSyncRead(port, packets, PRESENT_POSITION, POSITION_BYTES)
        for servo in self._ids:
            for _ in range(TRIES):
                result, fault = packets.write1ByteTxRx(port, servo, TORQUE_ENABLE, 0)
                if result == sdk.COMM_SUCCESS:
                    break
            if result != sdk.COMM_SUCCESS or fault:
                told = packets.getTxRxResult(result) if result else packets.getRxPacketError(fault)
                raise DeviceLostError(
                    f"servo {servo} of GELLO at {settings.path} does not answer: {told}. Check its "
                    "ID, the baud rate, the cable to it and the power."
                )
            self._group.addParam(servo)
        return f"GELLO at {settings.path}, servos {self._ids}"

    def read(self) -> Reading:
        """Read every servo's position at once."""
        from serial import SerialException

        try:
            for _ in range(TRIES):
                result = self._group.txRxPacket()
                if result == self._sdk.COMM_SUCCESS:
                    break
        except (SerialException, OSError) as error:
            raise DeviceLostError(f"GELLO's port is gone: {error}") from error
        if result != self._sdk.COMM_SUCCESS:
            told = self._sdk.PacketHandler(2.0).getTxRxResult(result)
            raise DeviceLostError(f"GELLO's servos do not answer: {told}")
        angles = np.array([self._angle_rad(servo) for servo in self._ids])
        settings = self._settings
        joints = np.array(settings.joint_signs) * (angles[:7] - settings.joint_offsets_rad)
        opening = None
        if settings.gripper_servo_id:
            closed, opened = settings.trigger_closed_rad, settings.trigger_open_rad
            opening = float(np.clip((angles[7] - closed) / (opened - closed), 0.0, 1.0))
        return Reading(joints_rad=joints, opening=opening)

    def close(self) -> None:
        """Close the port."""
        if self._port is not None:
            self._port.closePort()
            self._port = None

    def _angle_rad(self, servo: int) -> float:
        counts = self._group.getData(servo, PRESENT_POSITION, POSITION_BYTES)
        signed = counts - (1 << 32) if counts >= 1 << 31 else counts
        return float(signed * RAD_PER_COUNT)
