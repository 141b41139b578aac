"""What a node has to say about its health, on `diagnostics`."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from rlco.nodes import topics
from rlco.nodes.runtime import RlcoNode

PERIOD_S = 1.0


class Diagnostics:
    """Publishes the node's status when it changes, and every second."""

    def __init__(self, node: RlcoNode) -> None:
        """Start with an OK status."""
        self._node = node
        self._out = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, 10)
        self._status = DiagnosticStatus(name=node.get_name(), message="ready")
        self._timer = node.wall_timer(PERIOD_S, self._publish)

    def ok(self, message: str, **values: object) -> None:
        """All is well."""
        self._report(DiagnosticStatus.OK, message, values)

    def warn(self, message: str, **values: object) -> None:
        """Something is not as it should be, and goes on."""
        self._report(DiagnosticStatus.WARN, message, values)

    def error(self, message: str, **values: object) -> None:
        """Something needs a person; it is logged, too."""
        self._node.get_logger().error(message)
        self._report(DiagnosticStatus.ERROR, message, values)

    def _report(self, level: bytes, message: str, values: dict[str, object]) -> None:
        self._status = DiagnosticStatus(
            level=level,
            name=self._node.get_name(),
            message=message,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        self._publish()

    def _publish(self) -> None:
        message = DiagnosticArray(status=[self._status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._out.publish(message)
