"""The steps of a calibration over one folder, each from what is on disk to a result and a picture.

    work/
      captures/<camera>/   frames with poses           (collected)
      touches.yaml         touches of the table        (collected)
      motions/*.npz        excitations of the arm      (collected)
      pushes/*.npz         slides of objects           (collected)
      slides/*.npz         pushes of a drawer          (collected; optional)
      to_click/*.yaml      pictures to click in        (collected; optional)
      objects/*.yaml       pictures of objects         (collected and clicked; optional)
      appearance/*.yaml    pictures of known places    (collected; optional)
      drawers/*.yaml       touches of a drawer         (collected; optional)
      marks/*.yaml         marked start positions      (touched, or clicked; optional)
      ruler.yaml           numbers typed in            (by hand; optional)
      results/*.yaml       one per step
      pictures/*.png       one per step
      twin.yaml            the measured twin

Every step can run alone and again; nothing that was collected is ever changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rlco_datasets import spec

from rlco_calibration import (
    drawer_friction,
    handeye,
    intrinsics,
    pictures,
    scene,
    scene_pictures,
    scene_steps,
    sysid,
)
from rlco_calibration.captures import CaptureFolder
from rlco_calibration.errors import CalibrationError
from rlco_calibration.initial_states import stood
from rlco_calibration.marked_states import MeasuredStates, with_states
from rlco_calibration.problems import disagreement, examine
from rlco_calibration.recording import Recording, load_all
from rlco_calibration.results import (
    CameraResult,
    LensResult,
    Quantities,
    with_camera,
    with_quantities,
)
from rlco_calibration.simulators import TwinSimulator
from rlco_calibration.to_click import Pictures
from rlco_calibration.twin import Twin

Say = Callable[[str], None]

LENS_MODEL = "k1k2p1p2"
"""What hand-eye refines: the tangential part too, for it is easily taken for the centre."""
STEPS = (
    "cameras",
    "table",
    "objects",
    "drawer",
    "arm",
    "friction",
    "slides",
    "appearance",
    "tasks",
    "twin",
)
REPLAYED = ("arm", "friction", "slides", "appearance")
"""Steps that need the twin simulated: motions replayed, or its cameras' pictures."""
OPTIONAL = {
    "objects": "objects/*.yaml",
    "drawer": "drawers/*.yaml",
    "slides": "slides/*.npz",
    "appearance": "appearance/*.yaml",
    "tasks": "marks/*.yaml",
}
"""Steps that are left out where nothing was collected for them: the twin keeps its numbers."""
SCENE = ("table", "objects", "drawer")
FRICTION_LOW, FRICTION_HIGH = 0.05, 1.5


class Walk:
    """One calibration: its folder, and the twin that it started from."""

    def __init__(self, folder: Path, start: Twin, say: Say) -> None:
        """Take the folder; `start` is what stays where nothing was measured."""
        self.folder, self.start, self._say = folder, start, say

    @property
    def captures(self) -> list[Path]:
        """The folders of captures."""
        return sorted(p.parent for p in (self.folder / "captures").glob("*/session.yaml"))

    def result(self, name: str) -> Path:
        """Return the file of a step's result."""
        return self.folder / "results" / f"{name}.yaml"

    def picture(self, name: str) -> Path:
        """Return the file of a step's picture."""
        return self.folder / "pictures" / f"{name}.png"

    def status(self) -> list[str]:
        """Return what is there and what is to be done, in words."""
        lines = []
        for folder in self.captures:
            count, camera = len(CaptureFolder.open(folder)), folder.name
            lines.append(f"captures of {camera}: {count}; {self._solved(f'camera_{camera}')}")
        for name, there, solved in (
            ("touches of the table", self.folder / "touches.yaml", "table"),
            ("motions of the arm", self.folder / "motions", "arm"),
            ("pushes", self.folder / "pushes", "friction"),
        ):
            state = "collected" if there.exists() else "not collected yet"
            lines.append(f"{name}: {state}; {self._solved(solved)}")
        for step, files in OPTIONAL.items():
            count = len(list(self.folder.glob(files)))
            state = f"{count} collected" if count else "none collected (optional)"
            lines.append(f"{files.partition('/')[0]}: {state}; {self._solved(step)}")
        waiting = len(Pictures(self.folder).waiting)
        if waiting:
            lines.append(f"pictures to click in: {waiting} wait (rlco-calibrate click)")
        ready = (self.folder / "twin.yaml").is_file()
        lines.append(f"twin.yaml: {'written' if ready else 'not written yet'}")
        return lines

    def _solved(self, name: str) -> str:
        return "solved" if self.result(name).is_file() else "not solved yet"

    def solved(self, step: str) -> bool:
        """Say whether a step's results are there: for cameras, of every folder of captures."""
        if step == "cameras":
            names = [f"camera_{folder.name}" for folder in self.captures]
            return bool(names) and all(self.result(name).is_file() for name in names)
        return self.result(step).is_file()

    def wanted(self, step: str) -> bool:
        """Say whether a step is to be done: one that is not optional, or that was collected for."""
        return step not in OPTIONAL or any(self.folder.glob(OPTIONAL[step]))

    def cameras(self) -> list[CameraResult]:
        """Measure every camera that there are captures of.

        Raises:
            CalibrationError: if there are no captures, or they cannot be used.
        """
        if not self.captures:
            raise CalibrationError(f"{self.folder}/captures: no captures yet. Collect them first.")
        return [self._camera(folder) for folder in self.captures]

    def _camera(self, path: Path) -> CameraResult:
        folder = CaptureFolder.open(path)
        session = folder.session
        seen = examine(session.board, folder.captures())
        for trouble in seen.troubles:
            self._say(f"{session.camera}: left out: {trouble}")
        lens = intrinsics.calibrate(session.board, [view.detection for view in seen.views])
        for advice in lens.coverage.advice():
            self._say(f"{session.camera}: {advice}")
        pictures.lens(lens, seen.views, session.camera, self.picture(f"lens_{session.camera}"))
        spec.save(
            LensResult(
                camera=session.camera,
                lens=lens.lens,
                std=tuple(lens.std.tolist()),
                model=lens.model,
                rms_px=lens.rms_px,
                captures=len(lens.views),
                scores_px=lens.scores_px,
            ),
            self.result(f"lens_{session.camera}"),
        )
        setup: handeye.Setup = "eye_in_hand" if session.on_hand else "eye_to_hand"
        wrong = disagreement(
            session.board, seen.names, seen.views, lens.lens, setup, model=LENS_MODEL
        )
        if wrong is not None:
            raise CalibrationError(f"{path}: {wrong}")
        found = handeye.calibrate(
            session.board, seen.views, lens.lens, setup=setup, model=LENS_MODEL
        )
        pictures.camera(found, seen.views, session.camera, self.picture(f"camera_{session.camera}"))
        result = CameraResult.of(session.camera, found)
        spec.save(result, self.result(f"camera_{session.camera}"))
        position = ", ".join(f"{value:.4f}" for value in result.position_m)
        where = f"at ({position}) m" + (" in the TCP's frame" if session.on_hand else "")
        self._say(
            f"{session.camera}: {where} +-{1960 * max(result.position_std_m):.1f} mm, "
            f"{result.captures} captures, {result.rms_px:.2f} px, "
            f"{result.left_out_px:.2f} px on those left out"
        )
        return result

    def table(self) -> Quantities:
        """Measure the table's height from touches.

        Raises:
            CalibrationError: if there are none, or they contradict one another.
        """
        path = self.folder / "touches.yaml"
        if not path.is_file():
            raise CalibrationError(f"{path}: no touches of the table yet. Collect them first.")
        touches = spec.load(scene.Touches, path)
        found = scene.table_height(touches)
        height = found.quantities[0]
        pictures.table(scene.points(touches), height.value, height.std, self.picture("table"))
        return self._keep("table", found)

    def objects(self) -> Quantities:
        """Measure the sizes of objects from pictures of them on the table.

        Raises:
            CalibrationError: if there are none, or naming what is wrong with all of them.
        """
        found = scene_steps.objects(self.folder, self.measured(("table",)), self._say)
        return self._keep("objects", found)

    def drawer(self) -> Quantities:
        """Measure travel, place, yaw and handle of every drawer that was touched.

        Raises:
            CalibrationError: if there are no touches, or they contradict one another.
        """
        return self._keep("drawer", scene_steps.drawers(self.folder, self.measured(("table",))))

    def tasks(self) -> MeasuredStates:
        """Fit the initial states of every task that positions were marked for.

        Raises:
            CalibrationError: if there are no marks, or naming marks that cannot be used.
        """
        found = scene_steps.tasks(self.folder, self.measured(("table", "objects", "drawer")))
        spec.save(found, self.result("tasks"))
        for states in found.states:
            for place in states.placements:
                x, y, yaw = place.x_m, place.y_m, place.yaw_rad
                self._say(
                    f"{states.name}: {place.name} x {x[0]:.3f} to {x[1]:.3f}, y {y[0]:.3f} to "
                    f"{y[1]:.3f} m, yaw {yaw[0]:.2f} to {yaw[1]:.2f} rad"
                )
        return found

    def arm(self, simulator: TwinSimulator) -> Quantities:
        """Fit the arm's controller to recorded motions."""
        twin = self.measured(SCENE)
        recordings = self._recordings("motions", twin)
        found = sysid.fit_arm(twin, recordings, simulator, substep_s=simulator.substep_s)
        before, after = simulator(
            [(twin, recordings[-1]), (with_quantities(twin, found), recordings[-1])]
        )
        title = f"arm on a held-out motion: {found.notes[0]}"
        pictures.motion(recordings[-1], before, after, title, self.picture("arm"))
        return self._keep("arm", found)

    def friction(self, simulator: TwinSimulator) -> Quantities:
        """Fit the friction of the object that was pushed, with the arm as measured before."""
        twin = self.measured((*SCENE, "arm"))
        recordings = self._recordings("pushes", twin)
        parameter = self._friction(twin, set(recordings[0].track.objects))
        found = sysid.fit_friction(twin, parameter, recordings, simulator)
        replayed = simulator([(with_quantities(twin, found), r) for r in recordings])
        pictures.slides(recordings, replayed, self.picture("friction"))
        return self._keep("friction", found)

    def slides(self, simulator: TwinSimulator) -> Quantities:
        """Fit how the drawer slides, with the arm, the table and the drawer as measured before.

        Raises:
            CalibrationError: if the arm was not measured, or naming a push that cannot be used.
        """
        if not self.solved("arm"):
            raise CalibrationError(
                "a drawer's resistance is weighed by how the arm bends under it: do the step `arm` "
                "first"
            )
        twin = self.measured((*SCENE, "arm"))
        recordings = self._recordings("slides", twin)
        model = scene_steps.pushed_drawer(twin, recordings[0])
        found = drawer_friction.fit(twin, model, recordings, simulator)
        stood = [drawer_friction.standing(twin, model, item) for item in recordings]
        replayed = simulator([(with_quantities(twin, found), item) for item in stood])
        scene_pictures.slides(model, stood, replayed, found, self.picture("slides"))
        return self._keep("slides", found)

    def appearance(self, simulator: TwinSimulator) -> Quantities:
        """Measure colours, lights and noise in pictures of cameras that are measured.

        Raises:
            CalibrationError: if there are none, or naming the picture that cannot be used.
        """
        found, shown = scene_steps.appearance(
            self.folder, self._with_cameras(self.measured(SCENE)), simulator
        )
        scene_pictures.appearance(shown, found.notes, self.picture("appearance"))
        return self._keep("appearance", found)

    def _recordings(self, name: str, twin: Twin) -> list[Recording]:
        """Return the recordings of a folder, things standing on the twin's table from the start.

        Table and sizes may have been measured after the recording was made.
        """
        recordings = load_all(self.folder / name)
        if not recordings:
            raise CalibrationError(f"{self.folder}/{name}: no recordings yet. Collect them first.")
        return [replace(item, initial=stood(twin, item.initial)) for item in recordings]

    @staticmethod
    def _friction(twin: Twin, seen: set[str]) -> sysid.Parameter:
        """Return the friction of the object that can move; what it slides on is set to the same."""
        movable = [m.name for m in twin.objects if m.name in seen and not m.fixed]
        if len(movable) != 1:
            raise CalibrationError(f"pushes must move one object each, got {movable}")
        name = f"objects.{movable[0]}.friction"
        return sysid.Parameter(
            name=name, fields=(name, "table.friction"), low=FRICTION_LOW, high=FRICTION_HIGH
        )

    def measured(self, steps: tuple[str, ...]) -> Twin:
        """Return the starting twin with the ruler's numbers and the results of some steps in it.

        What a step measured replaces what the ruler said.
        """
        twin = self.start
        ruler = self.folder / "ruler.yaml"
        if ruler.is_file():
            twin = with_quantities(twin, spec.load(scene.Ruler, ruler).quantities())
        for name in steps:
            if self.result(name).is_file():
                twin = with_quantities(twin, spec.load(Quantities, self.result(name)))
        return twin

    def _with_cameras(self, twin: Twin) -> Twin:
        for path in sorted((self.folder / "results").glob("camera_*.yaml")):
            result = spec.load(CameraResult, path)
            if result.setup == "eye_to_hand":
                twin = with_camera(twin, result)
        return twin

    def twin(self) -> Twin:
        """Write and return the measured twin: every result there is, and the ruler's numbers."""
        twin = self._with_cameras(self.measured((*SCENE, *REPLAYED)))
        if self.result("tasks").is_file():
            twin = with_states(twin, spec.load(MeasuredStates, self.result("tasks")))
        spec.save(twin, self.folder / "twin.yaml")
        self._say(f"{self.folder / 'twin.yaml'}: twin {twin.name} ({twin.id})")
        return twin

    def _keep(self, name: str, found: Quantities) -> Quantities:
        spec.save(found, self.result(name))
        for item in found.quantities:
            verdict = f"{item.value:.5g} (95%: {item.low:.5g} to {item.high:.5g})"
            self._say(f"{item.name}: {verdict if item.identified else item.source}")
        for note in found.notes:
            self._say(note)
        return found
