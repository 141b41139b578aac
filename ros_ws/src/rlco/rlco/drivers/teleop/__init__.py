"""What operators hold: SpaceMouse, keyboard, gamepad, GELLO."""
