"""`rlco-calibrate background`: put a photo of the bench behind its twin."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from rlco_datasets import spec

from rlco_calibration.background import from_photo
from rlco_calibration.errors import CalibrationError
from rlco_calibration.twin import load_twin


@dataclass(frozen=True, kw_only=True)
class BackgroundCommand:
    """Put a real photo behind what a camera of the twin sees, in place of the grey room.

    Goes in: a twin whose camera is measured, and a full frame of that camera as it publishes them
    (not rectified), the arm and all objects out of sight or where the twin hides them. Comes out: a
    twin with the photo in it, another hash, and nothing else changed. Without --photo it is taken
    out again.
    Example: rlco-calibrate background --twin twin.yaml --camera third_person --photo empty.png
    --out twin_photo.yaml
    """

    twin: Path
    """The twin file (YAML)."""
    camera: str
    """The camera that the photo is of."""
    photo: Path | None = None
    """The picture; none: the twin's photo of this camera is taken out."""
    out: Path
    """The twin file to write."""

    def run(self) -> None:
        """Write the twin.

        Raises:
            CalibrationError: if the photo cannot be read, or is of another size than the camera.
        """
        twin = load_twin(self.twin)
        lens = twin.camera(self.camera).lens
        kept = tuple(item for item in twin.backgrounds if item.name != self.camera)
        if self.photo is not None:
            found = cv2.imread(str(self.photo), cv2.IMREAD_COLOR)
            if found is None:
                raise CalibrationError(f"{self.photo}: cannot be read as a picture")
            frame = np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), np.uint8)
            kept += (from_photo(self.camera, lens, frame),)
        changed = replace(twin, backgrounds=kept)
        spec.save(changed, self.out)
        print(f"{self.out}: twin {changed.name} ({changed.id})")
