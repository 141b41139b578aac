"""Nodes with a ROS lifecycle."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from rlco.nodes.runtime import NodeError, Spun


class ManagedNode(Spun, LifecycleNode):  # type: ignore[misc]
    """A node with a ROS lifecycle: unconfigured, inactive, active.

    A subclass overrides `configure`, `activate`, `deactivate` and `cleanup`; an exception of
    `configure` or `activate` fails the transition and is logged.
    """

    autostart = True

    def begin(self) -> None:
        """Configure and activate, if the node starts by itself.

        Raises:
            NodeError: if either fails.
        """
        if not self.autostart:
            return
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != TransitionCallbackReturn.SUCCESS:
                raise NodeError(self._problem)

    def configure(self) -> None:
        """Take what the node needs, such as files and devices."""

    def activate(self) -> None:
        """Begin to serve."""

    def deactivate(self) -> None:
        """Stop serving; what is under way is dropped."""

    def cleanup(self) -> None:
        """Give back what `configure` took."""

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Configure."""
        return self._transition(self.configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Activate."""
        return self._transition(self.activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate."""
        return self._transition(self.deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Clean up."""
        return self._transition(self.cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop serving and clean up."""
        if state.label == "active":
            self.deactivate()
        if state.label != "unconfigured":
            self.cleanup()
        return TransitionCallbackReturn.SUCCESS

    def _transition(self, step: Callable[[], None]) -> TransitionCallbackReturn:
        self._problem = ""
        try:
            step()
        except (ValueError, OSError, NodeError) as error:
            self._problem = str(error)
            self.get_logger().error(f"{step.__name__} failed: {error}")
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS
