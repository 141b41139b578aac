"""How a node that runs a session hands the arm over, and learns that the guard has stopped it."""

from __future__ import annotations

import time
from collections.abc import Callable

from rlco_datasets.contract import Contract
from rlco_msgs.msg import GuardState
from rlco_msgs.srv import SelectSource

from rlco.nodes import topics
from rlco.nodes.guard import STATE_QOS
from rlco.nodes.runtime import NodeError, RlcoNode

RETRY_S = 0.2


class GuardClient:
    """Speaks to the guard for one node."""

    def __init__(
        self,
        node: RlcoNode,
        contract: Contract,
        on_stop: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """Connect; `on_stop` is called with the reason when the guard stops the arm."""
        self._node = node
        self._contract = contract
        self._on_stop = on_stop
        self._select = node.create_client(SelectSource, topics.SELECT_SOURCE)
        node.create_subscription(GuardState, topics.GUARD_STATE, self._on_state, STATE_QOS)
        self.stopped = ""

    def _on_state(self, message: GuardState) -> None:
        reason = f"the guard stopped the arm: {message.reason}" if message.stopped else ""
        if reason and not self.stopped:
            self._on_stop(reason)
        self.stopped = reason

    def hand_over(self, source: str, *, timeout_s: float) -> None:
        """Have `source` drive from now on ("none": nobody); the arm is where it is measured.

        Nodes that were just started may not all hear each other yet: asks until `timeout_s` (wall
        clock) is over.

        Raises:
            NodeError: with the guard's last refusal.
        """
        deadline_s = time.monotonic() + timeout_s
        request = SelectSource.Request(source=source, contract_id=self._contract.id)
        while True:
            reply = self._node.runtime.call(
                self._select, request, timeout_s=timeout_s, repeatable=True
            )
            if reply.success:
                return
            if time.monotonic() > deadline_s:
                raise NodeError(f"the guard did not hand over to {source!r}: {reply.message}")
            self._node.runtime.spin_until(lambda: False, RETRY_S)
