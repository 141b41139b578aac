"""Devices, each behind a Protocol: arms, grippers, cameras and what operators hold."""
