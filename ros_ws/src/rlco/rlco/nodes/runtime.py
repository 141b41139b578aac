"""How every node starts, spins and ends.

A node ends with exit code 0 on SIGINT and SIGTERM alike. Signals only set a flag that the spin loop
reads: an exception in the middle of a callback would leave work half-done, and rclpy's own handler
would shut the context down under it. A node whose launcher dies gets a SIGTERM from the kernel, so
that nothing drives an arm on its own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

import rclpy
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.client import Client
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.timer import Timer

from rlco.launcher import LAUNCHER_PID
from rlco.parameters import ParameterError, Range, defaults, describe, ranges

T = TypeVar("T")

WAKE_S = 0.2
"""How long a signal may wait for the spin loop to see it."""
REPEAT_S = 5.0
"""How long an answer may take before a repeatable request is sent again."""
_PR_SET_PDEATHSIG = 1
COMMAND_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=10)


class StoppedError(Exception):
    """The process was asked to end."""


class NodeError(RuntimeError):
    """A node cannot go on; the message says why and what to do."""


def state_qos(*, lock_step: bool, depth: int = 10) -> QoSProfile:
    """Return the QoS of observations: reliable in lock step, else franka_ros2's best effort."""
    reliability = ReliabilityPolicy.RELIABLE if lock_step else ReliabilityPolicy.BEST_EFFORT
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability)


def declare(node: Node, kind: type[T]) -> T:
    """Declare the parameters of `kind` on `node` and return their values.

    Raises:
        ParameterError: if one is missing or impossible.
    """
    values = {}
    texts, spans = describe(kind), ranges(kind)
    for name, default in defaults(kind).items():
        descriptor = ParameterDescriptor(
            description=texts[name], read_only=True, **_range(spans.get(name), default)
        )
        start = list(default) if isinstance(default, tuple) else default
        try:
            value = node.declare_parameter(name, start, descriptor).value
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise ParameterError(f"{error} Parameter {name!r}: {texts[name]}") from error
        values[name] = tuple(value) if isinstance(default, tuple) else value
    return kind(**values)


def _range(span: Range | None, default: Any) -> dict[str, Any]:
    """Return the range of a scalar parameter as `ros2 param describe` shows it."""
    if span is None or isinstance(default, tuple):
        return {}
    if isinstance(default, int):
        bounds = IntegerRange(from_value=int(span.low), to_value=int(span.high), step=0)
        return {"integer_range": [bounds]}
    bounds = FloatingPointRange(from_value=float(span.low), to_value=float(span.high))
    return {"floating_point_range": [bounds]}


class Runtime:
    """Spins one node until it is done or asked to stop."""

    def __init__(self, node: Node, stop: StopFlag) -> None:
        """Take the node and the flag that ends it."""
        self._stop = stop
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)

    def spin_until(self, done: Callable[[], bool], timeout_s: float = float("inf")) -> bool:
        """Run callbacks until `done()`; return False if `timeout_s` (wall clock) went by before.

        Raises:
            StoppedError: if the process was asked to end.
        """
        deadline_s = time.monotonic() + timeout_s
        while not done():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return False
            self._executor.spin_once(timeout_sec=min(WAKE_S, left_s))
            if self._stop.is_set:
                raise StoppedError
        return True

    def spin(self) -> None:
        """Run callbacks until the process is asked to end."""
        self.spin_until(lambda: False)

    def call(
        self, client: Client, request: Any, *, timeout_s: float = 10.0, repeatable: bool = False
    ) -> Any:
        """Call a service and return its response.

        A service can be in sight while its answers are not yet heard here: the two directions are
        discovered apart, and an answer sent in between is lost. A `repeatable` request, which does
        no harm when it is served twice, is therefore sent again while no answer has come.

        Raises:
            NodeError: if the service is not there or does not answer, naming it.
            StoppedError: if the process was asked to end.
        """
        deadline_s = time.monotonic() + timeout_s
        if not self.spin_until(client.service_is_ready, timeout_s):
            raise NodeError(
                f"service {client.srv_name} is not there after {timeout_s:.0f} s. Is its node "
                "running, in the same namespace and ROS_DOMAIN_ID?"
            )
        futures = []
        while (left_s := deadline_s - time.monotonic()) > 0:
            futures.append(client.call_async(request))
            wait_s = min(left_s, REPEAT_S) if repeatable else left_s
            if self.spin_until(lambda: any(future.done() for future in futures), wait_s):
                break
        answered = [future for future in futures if future.done()]
        for future in futures:
            if not future.done():
                client.remove_pending_request(future)
        if not answered:
            raise NodeError(f"service {client.srv_name} did not answer within {timeout_s:.0f} s")
        return answered[0].result()

    def close(self) -> None:
        """Shut the executor down."""
        self._executor.shutdown()


class StopFlag:
    """Set by SIGINT and SIGTERM. Before `arm`, a signal ends the process at once, exit code 0."""

    def __init__(self) -> None:
        """Take over both signals."""
        self.is_set = False
        self._armed = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def arm(self) -> None:
        """From now on a signal only sets the flag."""
        self._armed = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.is_set = True
        if not self._armed:
            raise SystemExit(0)


class Spun:
    """What a node of rlco has beyond rclpy's: a beginning and an end."""

    runtime: Runtime
    create_timer: Callable[..., Timer]

    def wall_timer(self, period_s: float, callback: Callable[[], None]) -> Timer:
        """Return a timer that goes by the wall clock even where ROS time is simulated."""
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        return self.create_timer(period_s, callback, clock=clock)

    def begin(self) -> None:
        """Get ready to run; called once, with the runtime there."""

    def run(self) -> int:
        """Do the node's work; return the exit code. By default it serves until it is stopped."""
        self.runtime.spin()
        return 0

    def close(self) -> None:
        """Finish what is under way; called once, whatever happened."""


class RlcoNode(Spun, Node):  # type: ignore[misc]
    """A node that is ready once it is made."""


def end_with_launcher() -> None:
    """Have the kernel end this process when the one that launched it dies, even by SIGKILL."""
    launcher = os.environ.get(LAUNCHER_PID, "")
    if launcher != str(os.getppid()):
        return  # started by hand, or through a wrapper that lives on
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if str(os.getppid()) != launcher:  # it died before the call above
        raise SystemExit(0)


def main(make: Callable[[], Spun]) -> None:
    """Run the node that `make` returns as this process, and exit."""
    end_with_launcher()
    stop = StopFlag()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    code = 0
    try:
        node: Any = make()
    except (ValueError, NodeError) as error:
        print(f"cannot start: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        sys.exit(2 if isinstance(error, ParameterError) else 1)
    node.runtime = Runtime(node, stop)
    try:
        node.begin()
        stop.arm()
        code = node.run()
    except StoppedError:
        code = 0
    except NodeError as error:
        node.get_logger().fatal(str(error))
        code = 1
    finally:
        node.close()
        node.runtime.close()
        node.destroy_node()
        rclpy.try_shutdown()
    sys.exit(code)
