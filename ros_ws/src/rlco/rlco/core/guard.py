"""The guard: who may drive the arm, and what is let through. No ROS here.

One source at a time, handed over explicitly. Whatever breaks a rule stops the arm, and it stays
stopped until the operator resumes. Ages are judged by stamps; silence, and only on a bench that
runs by the wall clock, by the injected clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rlco_datasets.contract import Contract

from rlco.core.guard_rules import StopRamp, permit
from rlco.core.joint_limits import JOINT_LIMITS
from rlco.parameters.guard import SOURCES, GuardLimits

Array = NDArray[np.float64]

OPERATOR = "teleop"
ARM_MODES = ("idle", "move")
"""In these modes the arm may be driven."""


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """A measured TCP pose `(4, 4)` with its capture stamp and when it was heard."""

    stamp_ns: int
    T_base_tcp: Array
    heard_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class SetPoint:
    """A pose that was let through, `limited` if it is not the one that was asked for."""

    stamp_ns: int
    T_base_target: Array
    limited: bool


class Guard:
    """Decides; the node around it listens and publishes."""

    def __init__(
        self,
        limits: GuardLimits,
        contract: Contract,
        *,
        lock_step: bool,
        clock_s: Callable[[], float],
        cameras: tuple[str, ...] = (),
        with_arm_status: bool = False,
    ) -> None:
        """Take the limits; `cameras` are those without which no policy may drive.

        In lock step nothing is judged by `clock_s`: the bench waits for whoever is slow.
        """
        self._limits = limits
        self._contract = contract
        self._lock_step = lock_step
        self._clock_s = clock_s
        self._with_arm_status = with_arm_status
        self._joint_limits = JOINT_LIMITS.get(limits.robot)
        self._state: State | None = None
        self._camera_s: dict[str, float] = dict.fromkeys(cameras, -np.inf)
        self._arm_s = -np.inf
        self._arm_complaint = ""
        self._joint_complaint = ""
        self.source = "none"
        self.reason = ""
        """Why it is stopped; empty while it is not."""
        self.ramp: StopRamp | None = None
        self.limited = 0
        self.hand_overs = 0
        self.resting = False
        """Whether the operator has let go: not stopped, but the arm is to rest."""
        self._forget_commands()

    def _forget_commands(self) -> None:
        """Let the next command start from where the arm is measured."""
        self._last: SetPoint | None = None
        self._reference: Array | None = None
        self._before_ns = 0
        self._commanded_s: float | None = None

    @property
    def stopped(self) -> bool:
        """Whether nothing is let through until the operator resumes."""
        return bool(self.reason)

    @property
    def state(self) -> State | None:
        """The newest state."""
        return self._state

    def select(self, source: str, contract_id: str = "") -> str:
        """Hand over to `source`; return why not, or ""."""
        if source not in SOURCES:
            return f"source must be one of {SOURCES}, got {source!r}"
        if source != "none":
            refusal = self._refusal(contract_id)
            if refusal:
                return refusal
        self.source = source
        self._begin()
        return ""

    def _refusal(self, contract_id: str) -> str:
        if self.stopped:
            return f"the guard has stopped the arm: {self.reason}. Resume first (guard/resume)."
        if contract_id and contract_id != self._contract.id:
            return (
                f"the source speaks contract {contract_id}, this bench {self._contract.name!r} "
                f"({self._contract.id}). Give both the same contract."
            )
        return self._arm_complaint or self._joint_complaint or self._silence(hand_over=True)

    def stop(self, reason: str) -> None:
        """Stop, for the first reason given; by the wall clock `ramp` leads to rest."""
        if self.stopped:
            return
        self.reason = reason
        self._come_to_rest()

    def _come_to_rest(self) -> None:
        if self._last is not None and not self._lock_step:
            now_s, start = self._clock_s(), self._last.T_base_target
            state = self._state
            fresh = state is not None and now_s - state.heard_s <= self._limits.max_state_age_s
            end = state.T_base_tcp if state is not None and fresh else start
            self.ramp = StopRamp(start, end, now_s)
        self._forget_commands()

    def resume(self) -> str:
        """Let the selected source drive again, on the operator's word; return why not, or ""."""
        complaint = self._arm_complaint or self._joint_complaint
        if complaint:
            return f"{complaint}. Mend that first, then resume."
        self.reason = ""
        self._begin()
        return ""

    def _begin(self) -> None:
        """Let a source drive from where the arm is."""
        self.hand_overs += 1
        self.ramp = None
        self.resting = False
        self._forget_commands()

    def hear_state(self, stamp_ns: int, T_base_tcp: Array) -> None:
        """Take a measured TCP pose `(4, 4)`, base frame."""
        self._state = State(stamp_ns=stamp_ns, T_base_tcp=T_base_tcp, heard_s=self._clock_s())

    def hear_joints(self, positions_rad: Array) -> None:
        """Take measured joint positions `(7,)`; stop where one is too close to its limit."""
        if self._joint_limits is None:
            return
        margins = self._joint_limits.margins_rad(positions_rad)
        worst = int(np.argmin(margins))
        near = margins[worst] < self._limits.joint_margin_rad
        self._joint_complaint = (
            f"joint {worst + 1} is {margins[worst]:.3f} rad from its limit, less than "
            f"joint_margin_rad {self._limits.joint_margin_rad:g}; move the arm by hand"
            if near
            else ""
        )
        if near and self.source != "none":
            self.stop(self._joint_complaint)

    def hear_camera(self, name: str) -> None:
        """Note that a camera is alive."""
        if name in self._camera_s:
            self._camera_s[name] = self._clock_s()

    def hear_arm(self, mode: str, *, held: bool, reason: str) -> None:
        """Take what the arm driver reports; stop unless the arm can be driven.

        A driver that `held` the arm takes commands again after the next hand-over, so that alone
        does not stand in the way of resuming.
        """
        self._arm_s = self._clock_s()
        self._arm_complaint = (
            "" if mode in ARM_MODES else f"the arm is in mode {mode!r}" + (reason and f": {reason}")
        )
        if self.source == "none":
            return
        if self._arm_complaint:
            self.stop(self._arm_complaint)
        elif held and self._commanded_s is not None:
            self.stop(f"the arm driver holds the arm: {reason}")

    def offer(self, source: str, stamp_ns: int, asked: Array) -> SetPoint | None:
        """Return the set-point to send for a command `(4, 4)` of `source`, or None.

        None: another source drives, the guard is stopped or stops now, the command is older than
        the last, or (`waits`) the state it answers has not been heard yet.
        """
        if source != self.source or self.stopped or self.waits(stamp_ns):
            return None
        last, state = self._last, self._state
        if last is not None and stamp_ns < last.stamp_ns:
            return None
        age_s = 0.0 if state is None else (state.stamp_ns - stamp_ns) / 1e9
        if state is None or age_s > self._limits.max_command_age_s:
            self.stop(
                f"{source}'s command is {age_s:.3f} s older than the newest state, more than "
                f"max_command_age_s {self._limits.max_command_age_s:g}"
                if state is not None
                else f"{source} sent a command before any state of the arm was heard"
            )
            return None
        self._commanded_s = self._clock_s()
        self.ramp = None
        self.resting = False
        if last is None or stamp_ns > last.stamp_ns:
            self._reference = state.T_base_tcp if last is None else last.T_base_target
            self._before_ns = stamp_ns - self._contract.period_ns if last is None else last.stamp_ns
        assert self._reference is not None
        elapsed_s = (stamp_ns - self._before_ns) / 1e9
        permitted = permit(asked, self._reference, elapsed_s, self._limits)
        if (
            permitted.moved_m > self._limits.max_deviation_m
            or permitted.turned_rad > self._limits.max_deviation_rad
        ):
            self.stop(
                f"{source}'s set-point at {np.round(asked[:3, 3], 4).tolist()} m is "
                f"{permitted.moved_m:.3f} m and {permitted.turned_rad:.3f} rad beyond what "
                "workspace, step and speed limits permit"
            )
            return None
        self.limited += permitted.limited
        self._last = SetPoint(
            stamp_ns=stamp_ns,
            T_base_target=permitted.T_base_target,
            limited=permitted.limited,
        )
        return self._last

    def waits(self, stamp_ns: int) -> bool:
        """Whether, in lock step, a first command must wait for the state that it answers."""
        return (
            self._lock_step
            and self._last is None
            and (self._state is None or self._state.stamp_ns < stamp_ns)
        )

    def offer_width(self, source: str, width_m: float) -> float | None:
        """Return the opening (m) to send for a gripper command of `source`, or None."""
        if source != self.source or self.stopped:
            return None
        if not np.isfinite(width_m):
            self.stop(f"{source}'s gripper width is {width_m}, not a finite number")
            return None
        return min(max(width_m, 0.0), self._contract.gripper_max_width_m)

    def watch(self, now_ns: int) -> None:
        """Stop where something that must be heard while driving is silent; `now_ns`: ROS time.

        An operator who is silent has let go of the clutch, or of everything. The arm comes to rest
        all the same, but it is their own hand that moves it again, from where it is then.
        """
        if self._lock_step or self.stopped or self._commanded_s is None:
            return
        silent_s = self._clock_s() - self._commanded_s
        if silent_s > self._limits.max_command_age_s:
            if self.source == OPERATOR:
                self._come_to_rest()
                self.resting = True
                self.hand_overs += 1
            else:
                self.stop(f"{self.source} has sent no command for {silent_s:.3f} s")
            return
        assert self._state is not None
        behind_s = (now_ns - self._state.stamp_ns) / 1e9
        if behind_s > self._limits.max_state_age_s:
            self.stop(
                f"the newest state is {behind_s:.3f} s old by its stamp, more than max_state_age_s "
                f"{self._limits.max_state_age_s:g}: the arm driver is silent, or clocks differ"
            )
            return
        complaint = self._silence(hand_over=False)
        if complaint:
            self.stop(complaint)

    def _silence(self, *, hand_over: bool) -> str:
        """Say what has not been heard for too long; at a hand-over nothing about cameras."""
        if self._lock_step:
            return ""
        now_s = self._clock_s()
        heard_s = -np.inf if self._state is None else self._state.heard_s
        watched = {"the arm's state": (heard_s, self._limits.max_state_age_s)}
        if self._with_arm_status:
            watched["the arm driver's status"] = (self._arm_s, self._limits.max_state_age_s)
        if self.source == "policy" and not hand_over:
            for name, camera_s in self._camera_s.items():
                watched[f"camera {name!r}"] = (camera_s, self._limits.max_camera_age_s)
        for what, (last_s, limit_s) in watched.items():
            if now_s - last_s > limit_s:
                told = "never" if last_s == -np.inf else f"not for {now_s - last_s:.3f} s"
                return f"{what} was heard {told}; is its driver running?"
        return ""
