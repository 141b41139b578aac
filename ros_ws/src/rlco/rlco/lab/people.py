"""`rlco-lab people`: what people do at a simulated lab's bench, with their eyes and a scale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rlco_calibration.errors import CalibrationError
from rlco_calibration.to_click import Pictures

from rlco.lab.clicker import LabClicker
from rlco.lab.hidden import load_hidden_twin
from rlco.lab.scale import weigh


@dataclass(frozen=True, kw_only=True)
class People:
    """Do a person's part of a simulated lab's calibration: click in pictures, weigh the drawer.

    Goes in: the lab's hidden twin, which its people see, and a calibration's folder. Comes out: the
    pictures in FOLDER/to_click clicked by a hand that shakes by half a pixel (as `rlco-calibrate
    click` has them clicked by you, in a window), and FOLDER/ruler.yaml with what a kitchen scale
    says; one that is there stays.
    Example: `rlco-lab people --lab runs/lab/hidden.yaml --folder runs/calibration`
    """

    lab: Path
    """The lab's hidden twin, as `rlco-lab draw` wrote it."""
    folder: Path
    """The calibration's folder."""
    seed: int = 0
    """Of the errors of hand and scale."""

    def run(self) -> None:
        """Click and weigh.

        Raises:
            CalibrationError: if there is no such folder, or a picture cannot be clicked in.
        """
        if not self.folder.is_dir():
            raise CalibrationError(f"{self.folder}: no such folder. Collect into it first.")
        hidden = load_hidden_twin(self.lab)
        pictures = Pictures(self.folder)
        print(f"{pictures.path}: {len(pictures.waiting)} pictures to click in")
        pictures.click(LabClicker(hidden, seed=self.seed), print)
        weigh(hidden, self.folder, seed=self.seed)
        print(f"{self.folder / 'ruler.yaml'}: the drawer on the scale")
