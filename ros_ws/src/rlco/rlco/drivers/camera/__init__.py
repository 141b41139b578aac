"""Cameras: RealSense, UVC, and any image topic."""
