"""The Franka hand over its own interface, through franky-control."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from rlco.core.grip import GripAction
from rlco.drivers.arm.arm import ArmError
from rlco.drivers.arm.fci import connect, load_library
from rlco.drivers.gripper.gripper import GripperError
from rlco.parameters.gripper import GripperSettings


class FciGripper:
    """Does actions in one thread and reads the opening in another: both calls of the library wait.

    A grasp takes any width between closed and open as one: the object's is not known.
    """

    def __init__(self, settings: GripperSettings, library: Any = None) -> None:
        """Connect; home if the settings say so.

        Raises:
            GripperError: if there is no connection.
        """
        self._settings = settings
        try:
            self._franky = library or load_library()
            self._hand = connect(
                lambda: self._franky.Gripper(settings.address),
                settings.address,
                timeout_s=settings.connect_timeout_s,
                what="gripper",
            )
        except ArmError as error:
            raise GripperError(str(error)) from error
        self.version = f"gripper server {self._hand.server_version} at {settings.address}"
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gripper")
        self._action: Future[bool] | None = None
        self._told = True
        self._stopped = False
        self._width_m: float | None = None
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if settings.home:
            self._begin(self._hand.homing)

    @property
    def busy(self) -> bool:
        """Whether an action is under way."""
        return self._action is not None and not self._action.done()

    @property
    def width_m(self) -> float | None:
        """The opening measured last; None: not known yet."""
        return self._width_m

    def _read(self) -> None:
        while not self._ended.wait(1.0 / self._settings.state_rate_hz):
            try:
                self._width_m = float(self._hand.state.width)
            except self._franky.Exception:
                self._width_m = None

    def _begin(self, action: Any, *arguments: float) -> None:
        self._told = self._stopped = False
        self._action = self._worker.submit(action, *arguments)

    def do(self, action: GripAction) -> None:
        """Begin an action; a stop ends the one under way.

        Raises:
            GripperError: if the hand cannot be stopped.
        """
        settings = self._settings
        if action.verb == "stop":
            self._stopped = True
            try:
                self._hand.stop()
            except self._franky.Exception as error:
                raise GripperError(f"the gripper does not stop: {error}") from error
        elif action.verb == "move":
            self._begin(self._hand.move, action.width_m, settings.speed_m_s)
        else:
            any_width_m = settings.max_width_m
            self._begin(
                self._hand.grasp,
                *(action.width_m, settings.speed_m_s, settings.force_n, any_width_m, any_width_m),
            )

    def complaint(self) -> str:
        """Return why the last action failed, once; a stopped one has not failed."""
        if self._told or self._action is None or not self._action.done():
            return ""
        self._told = True
        if self._stopped:
            return ""
        error = self._action.exception()
        if error is not None:
            return f"the gripper refuses: {error}"
        return "" if self._action.result() else "the gripper did not reach its target"

    def close(self) -> None:
        """Stop reading; an action under way is left to the hand."""
        self._ended.set()
        self._reader.join(2.0)
        self._worker.shutdown(wait=False, cancel_futures=True)
