"""How a recording session stands, as a message."""

from __future__ import annotations

from collections.abc import Sequence

from builtin_interfaces.msg import Time
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
from rlco_msgs.msg import RecorderState, StreamMeter

from rlco.core.monitor import Meter
from rlco.core.session import Session

STATE_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
NEVER_S = -1.0


def state_message(
    session: Session,
    meters: Sequence[Meter],
    *,
    stamp: Time,
    task: str,
    session_name: str,
    message: str,
    buffer_used: float,
    free_mb: float,
) -> RecorderState:
    """Return the state of a session and its streams."""
    return RecorderState(
        stamp=stamp,
        state=session.state.value,
        task=task,
        session=session_name,
        committed=session.committed,
        wanted=session.wanted,
        elapsed_s=session.elapsed_s,
        remaining_s=session.remaining_s,
        buffer_used=buffer_used,
        free_mb=free_mb,
        message=message,
        streams=[_stream(meter) for meter in meters],
    )


def _stream(meter: Meter) -> StreamMeter:
    return StreamMeter(
        name=meter.topic,
        rate_hz=meter.rate_hz,
        expected_hz=meter.expected_hz,
        age_s=NEVER_S if meter.age_s is None else meter.age_s,
        received=meter.received,
        dropped=meter.dropped,
        silent=meter.silent,
        slow=meter.slow,
    )
