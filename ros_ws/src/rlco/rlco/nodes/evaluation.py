"""The evaluation node: runs the trials of a locked study that its ledger still lacks.

For each: lays out the initial condition, lets the policy with the trial's blind code drive until
the bench scores a success or the time limit is reached, and commits the result to the ledger. What
ends a trial early (the server dies, a topic falls silent) makes it void, with the reason; it is run
again, within the study's `max_attempts`. Stopped at any time, the same command continues.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from rlco_datasets import spec
from rlco_datasets.contract import ContractMismatchError
from rlco_evaluation.ledger import Ledger
from rlco_evaluation.records import TrialRecord
from rlco_evaluation.schedule import Trial
from rlco_evaluation.study import Study
from rlco_msgs.srv import ResetScene, ScoreTrial, StartPolicy
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from rlco.core.trial import Scored, TrialClock, evenly, folder_name
from rlco.nodes import topics, wire
from rlco.nodes.guard_client import GuardClient
from rlco.nodes.runtime import NodeError, RlcoNode, declare, main, state_qos
from rlco.parameters import EvalParameters, contract_named

START_TIMEOUT_S = 300.0
STALL_S = 15.0
"""A trial whose clock stands still this long (wall clock) is void."""
JPEG_QUALITY = 90


class VoidTrialError(RuntimeError):
    """The trial says nothing about its policy; the message is the reason."""


class Evaluation(RlcoNode):
    """Runs a study."""

    def __init__(self) -> None:
        """Open the study and its ledger."""
        super().__init__("eval")
        self._parameters = declare(self, EvalParameters)
        self._contract = contract_named(self._parameters.contract)
        self._study = spec.load(Study, self._parameters.study)
        if self._study.contract_id != self._contract.id:
            raise ContractMismatchError(
                f"study {self._parameters.study} is for contract {self._study.contract_id}, this "
                f"bench speaks {self._contract.name!r} ({self._contract.id})"
            )
        self._conditions = {condition.name: condition for condition in self._study.conditions}
        self._ledger = Ledger.open(self._parameters.ledger, self._study, mode="a")
        self._stamp_ns = 0
        self._frames: list[Image] = []
        self._session = ""
        self._policy_id = ""
        self._failure = ""
        self._notes = ""
        self._connect()

    def _connect(self) -> None:
        qos = state_qos(lock_step=self._parameters.lock_step)
        self.create_subscription(PoseStamped, topics.POSE, self._on_pose, qos)
        self.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, 10)
        if self._parameters.frames:
            camera = topics.image(self._contract.cameras[0].name)
            self.create_subscription(Image, camera, self._frames_append, qos)
        self._guard = GuardClient(self, self._contract, self._fail)
        self._reset = self.create_client(ResetScene, topics.RESET_SCENE)
        self._score = self.create_client(ScoreTrial, topics.SCORE_TRIAL)
        self._start = self.create_client(StartPolicy, topics.START_POLICY)
        self._stop = self.create_client(Trigger, topics.STOP_POLICY)
        # Discovered in this order: once the last one's answers arrive, so do those of the others.
        self._check = self.create_client(Trigger, topics.CHECK_POLICY)

    def run(self) -> int:
        """Run every trial that is still to be run."""
        if not self.runtime.spin_until(self._reset.service_is_ready, START_TIMEOUT_S):
            raise NodeError(f"no bench: service {topics.RESET_SCENE} did not appear")
        self.runtime.call(self._score, ScoreTrial.Request(), repeatable=True, timeout_s=60.0)
        while remaining := self._ledger.remaining(self._study):
            self._require_policy()
            trial = remaining[0]
            self._ledger.begin(trial.index)
            record = self._ledger.append(self._attempt(trial))
            outcome = record.reason if record.success is None else f"success: {record.success}"
            self.get_logger().info(
                f"trial {trial.index + 1} of {self._study.trial_count}, policy {trial.code}, "
                f"{trial.condition}: {outcome} ({record.milestone or 'nothing reached'}, "
                f"{record.steps} steps)"
            )
        done = sum(record.status == "done" for record in self._ledger.trials)
        if done < self._study.trial_count:
            self.get_logger().warning(
                f"{self._study.trial_count - done} trials are left out: each was void "
                f"{self._study.max_attempts} times; the reasons are in {self._parameters.ledger}"
            )
        return 0

    def _require_policy(self) -> None:
        """Wait until the policy could start: a server that is down must not use up attempts."""
        deadline_s = time.monotonic() + self._parameters.patience_s
        while True:
            reply = self.runtime.call(
                self._check, Trigger.Request(), timeout_s=START_TIMEOUT_S, repeatable=True
            )
            complaint = reply.message or self._guard.stopped
            if not complaint:
                return
            if time.monotonic() > deadline_s:
                raise NodeError(
                    f"the policy is not ready: {complaint} Trials that were run are safe in "
                    f"{self._parameters.ledger}; the same command continues."
                )
            self.runtime.spin_until(lambda: False, 1.0)

    def _attempt(self, trial: Trial) -> TrialRecord:
        attempt = 1 + sum(record.index == trial.index for record in self._ledger.trials)
        self._session = f"{self._study.name}-{trial.index}-{attempt}"
        self._policy_id = self._failure = self._notes = ""
        common: dict[str, Any] = {
            "index": trial.index,
            "condition": trial.condition,
            "code": trial.code,
        }
        try:
            verdict = self._run_trial(trial)
        except (VoidTrialError, NodeError) as error:
            return TrialRecord(**common, status="void", reason=str(error))
        return TrialRecord(
            **common,
            status="done",
            success=verdict.success,
            milestone=self._planned(verdict.milestone),
            steps=verdict.steps,
            notes=self._notes,
            duration_s=verdict.steps * self._contract.period_s,
            policy_id=self._policy_id,
            frames=self._save_frames(folder_name(trial, attempt)),
        )

    def _planned(self, milestone: str) -> str:
        """Return a milestone of the study; "" for another, which a ledger would not take."""
        milestones = self._study.milestones
        if milestones and milestone not in (*milestones, ""):
            self.get_logger().warning(f"milestone {milestone!r} is not one of {milestones}")
            return ""
        return milestone

    def _run_trial(self, trial: Trial) -> Scored:
        condition = wire.initial_condition_message(self._conditions[trial.condition])
        request = ResetScene.Request(initial_condition=condition)
        reset = self.runtime.call(self._reset, request, timeout_s=self._parameters.reset_timeout_s)
        if not reset.success:
            raise VoidTrialError(f"the scene could not be reset: {reset.message}")
        self._frames.clear()
        clock = TrialClock(self._study, self._contract, wire.stamp_ns(reset.stamp))
        start = StartPolicy.Request(
            policy=trial.code,
            instruction=self._study.instruction,
            session=self._session,
            not_before=reset.stamp,
        )
        self._guard.hand_over("policy", timeout_s=60.0)
        started = self.runtime.call(self._start, start, timeout_s=60.0)
        if not started.success:
            raise VoidTrialError(f"the policy did not start: {started.message}")
        try:
            while not clock.over(self._stamp_ns):
                self._wait_for_progress(self._contract.executed_steps * self._contract.period_ns)
                if clock.add(self._scored()):
                    break
        except VoidTrialError:
            # The reason must not be lost if the policy node is what died.
            with contextlib.suppress(NodeError):
                self.runtime.call(self._stop, Trigger.Request())
                self._guard.hand_over("none", timeout_s=10.0)
            raise
        self._guard.hand_over("none", timeout_s=60.0)
        self.runtime.call(self._stop, Trigger.Request())
        clock.add(self._scored())
        return clock.verdict

    def _wait_for_progress(self, nanoseconds: int) -> None:
        """Wait until the bench's clock has gone on by `nanoseconds`."""
        goal_ns = self._stamp_ns + nanoseconds
        moved = self.runtime.spin_until(
            lambda: self._stamp_ns >= goal_ns or bool(self._failure), STALL_S
        )
        if self._failure:
            raise VoidTrialError(self._failure)
        if not moved:
            raise VoidTrialError(
                f"the bench stood still for {STALL_S:.0f} s: no command, or no new observation on "
                f"{topics.POSE}"
            )

    def _scored(self) -> Scored:
        reply = self.runtime.call(self._score, ScoreTrial.Request(), repeatable=True)
        self._notes = reply.message
        if not reply.valid:
            raise VoidTrialError(f"the bench could not score the trial: {reply.message}")
        return Scored(success=reply.success, milestone=reply.milestone, steps=reply.steps)

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason

    def _on_pose(self, message: PoseStamped) -> None:
        self._stamp_ns = max(self._stamp_ns, wire.stamp_ns(message.header.stamp))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {item.key: item.value for item in status.values}
            if values.get("session") != self._session:
                continue
            if status.level == DiagnosticStatus.ERROR:
                self._failure = status.message
            self._policy_id = values.get("policy_id", self._policy_id)

    def _frames_append(self, message: Image) -> None:
        newest = self._frames[-1].header.stamp if self._frames else None
        if message.header.stamp != newest:
            self._frames.append(message)

    def _save_frames(self, name: str) -> str:
        """Save a few frames as the policy's crop; return the folder relative to the ledger."""
        if not self._frames:
            return ""
        folder = Path(self._parameters.frames, name)
        folder.mkdir(parents=True, exist_ok=True)
        left, top, width, height = self._contract.cameras[0].crop
        for number, index in enumerate(evenly(len(self._frames), self._parameters.frame_count)):
            frame = wire.image_array(self._frames[index])[top : top + height, left : left + width]
            _save_jpeg(folder / f"{number:02d}.jpg", frame)
        # Path.relative_to cannot walk up before Python 3.12.
        return Path(os.path.relpath(folder, Path(self._parameters.ledger).parent)).as_posix()

    def close(self) -> None:
        """Close the ledger; a trial that was under way is void when it is opened again."""
        self._ledger.close()


def _save_jpeg(path: Path, frame: NDArray[np.uint8]) -> None:
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
        raise NodeError(f"{path}: could not be written. Is the disk full?")


def run() -> None:
    """Run the node."""
    main(Evaluation)


if __name__ == "__main__":
    run()
