"""The calibration node: moves the arm and collects what `rlco-calibrate walk` needs.

Captures of the board in the hand at poses that tell the most, touches of the table, motions of the
arm and pushes of an object, into one folder. It can be stopped and started again: what is there is
not collected again.
"""

from __future__ import annotations

from pathlib import Path

from rlco_calibration.board import Board
from rlco_calibration.errors import CalibrationError
from rlco_calibration.gather import Gatherer
from rlco_calibration.twin import load_twin
from rlco_calibration.walk import Walk

from rlco.nodes.bench_port import RosBenchPort
from rlco.nodes.runtime import NodeError, RlcoNode, declare, main
from rlco.parameters import CalibrateParameters, contract_named


class Calibrate(RlcoNode):
    """Collects a calibration."""

    def __init__(self) -> None:
        """Connect to the bench."""
        super().__init__("calibrate")
        self._parameters = declare(self, CalibrateParameters)
        self._contract = contract_named(self._parameters.contract)
        self._twin = load_twin(self._parameters.bench)
        self._port = RosBenchPort(self, self._parameters, self._contract)

    def run(self) -> int:
        """Collect everything that is not there yet.

        Raises:
            NodeError: if the bench does not answer, or a measurement cannot be used.
        """
        walk = Walk(Path(self._parameters.folder), self._twin, self._say)
        gatherer = Gatherer(self._port, walk, self._say)
        self._port.connect()
        try:
            gatherer.everything(
                self._contract.camera_names,
                Board(),
                count=self._parameters.captures,
                steps=self._parameters.wanted,
            )
        except CalibrationError as error:
            raise NodeError(str(error)) from error
        self._port.release()
        self._say(f"collected: rlco-calibrate walk --folder {self._parameters.folder}")
        return 0

    def _say(self, line: str) -> None:
        self.get_logger().info(line)


def run() -> None:
    """Run the node."""
    main(Calibrate)


if __name__ == "__main__":
    run()
