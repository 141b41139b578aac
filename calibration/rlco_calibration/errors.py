"""What goes wrong in a calibration, said to the person at the bench."""

from __future__ import annotations


class CalibrationError(ValueError):
    """A measurement cannot be used; the message names what is wrong and what to do again."""
