"""Do recorded motions of the arm and of pushed objects come out the same in the twin?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from rlco_calibration.check_limits import Thresholds, Verdict
from rlco_calibration.recording import Recording, Track
from rlco_calibration.simulators import TwinSimulator
from rlco_calibration.twin import Twin


def motions(
    recordings: Sequence[Recording], twin: Twin, simulator: TwinSimulator, limits: Thresholds
) -> list[Verdict]:
    """Return the verdicts on the arm's recorded motions."""
    if not recordings:
        measured = "no recorded motions"
        return [Verdict(name="motion", level="warn", measured=measured, remedy="record some")]
    tracks = simulator([(twin, recording) for recording in recordings])
    position, rotation = _apart(recordings, tracks)
    remedy = "identify the arm again: its gains, payload or speed limits may have changed"
    return [
        Verdict(
            name="motion, position",
            level=limits.position_mm.level(position),
            measured=f"replays of {len(recordings)} motions are {position:.2f} mm off (rms)",
            remedy=remedy,
        ),
        Verdict(
            name="motion, rotation",
            level=limits.rotation_deg.level(rotation),
            measured=f"{rotation:.2f} deg off (rms)",
            remedy=remedy,
        ),
    ]


def _apart(recordings: Sequence[Recording], tracks: Sequence[Track]) -> tuple[float, float]:
    """Return the rms distance (mm) and angle (deg) of the TCP over all motions."""
    ours = np.concatenate([recording.track.T_base_tcp for recording in recordings])
    theirs = np.concatenate([track.T_base_tcp for track in tracks])
    distance = np.linalg.norm(ours[:, :3, 3] - theirs[:, :3, 3], axis=-1)
    turn = np.swapaxes(theirs[:, :3, :3], 1, 2) @ ours[:, :3, :3]
    angle = np.degrees(Rotation.from_matrix(turn).magnitude())
    return float(1000 * np.sqrt(np.mean(distance**2))), float(np.sqrt(np.mean(angle**2)))


def pushes(
    recordings: Sequence[Recording], twin: Twin, simulator: TwinSimulator, limits: Thresholds
) -> list[Verdict]:
    """Return the verdict on where pushed objects end."""
    if not recordings:
        return []
    tracks = simulator([(twin, recording) for recording in recordings])
    errors = [
        1000 * float(np.linalg.norm(poses[-1, :3, 3] - track.objects[name][-1, :3, 3]))
        for recording, track in zip(recordings, tracks, strict=True)
        for name, poses in recording.track.objects.items()
    ]
    worst = max(errors)
    return [
        Verdict(
            name="object motion",
            level=limits.object_mm.level(worst),
            measured=f"pushed objects end up to {worst:.1f} mm from where the twin has them",
            remedy="measure friction and masses again",
        )
    ]
