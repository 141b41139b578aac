"""A RealSense recording without a camera: frames of a software device, written as .db3."""

import time

import numpy as np

SERIAL = "819612070000"
NAME = "Software D435"
COEFFICIENTS = [0.01, -0.02, 0.001, -0.001, 0.0]


def colour(number, height, width):
    """Frame `number`: its number in red, a gradient in green."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[..., 0] = number % 256
    frame[..., 1] = np.linspace(0, 255, width).astype(np.uint8)
    return frame


def record(path, *, frames=30, width=64, height=48, rate_hz=30, depth_units_m=0.001):
    """Record colour and depth; depth of frame `n` is 500 + n units everywhere."""
    import pyrealsense2 as rs

    device = rs.software_device()
    device.register_info(rs.camera_info.name, NAME)
    device.register_info(rs.camera_info.serial_number, SERIAL)
    device.register_info(rs.camera_info.firmware_version, "5.16.0.1")
    depth_sensor = device.add_sensor("Stereo Module")
    colour_sensor = device.add_sensor("RGB Camera")
    depth_sensor.add_read_only_option(rs.option.depth_units, depth_units_m)
    depth = depth_sensor.add_video_stream(
        _stream(rs, rs.stream.depth, rs.format.z16, 0, 2, width, height, rate_hz)
    )
    rgb = colour_sensor.add_video_stream(
        _stream(rs, rs.stream.color, rs.format.rgb8, 1, 3, width, height, rate_hz)
    )
    extrinsics = rs.extrinsics()
    extrinsics.rotation = [1, 0, 0, 0, 1, 0, 0, 0, 1]
    extrinsics.translation = [0.0, 0.0, 0.0]
    depth.register_extrinsics_to(rgb, extrinsics)
    recorder = rs.recorder(str(path), device)
    queue = rs.frame_queue(frames)
    sensors = recorder.query_sensors()
    for sensor, profile in zip(sensors, (depth, rgb), strict=True):
        sensor.open(profile)
        sensor.start(queue)
    start_s = time.monotonic()
    for number in range(frames):
        # playback keeps the pace of recording
        time.sleep(max(start_s + number / rate_hz - time.monotonic(), 0))
        for sensor, profile, pixels, size in (
            (depth_sensor, depth, np.full((height, width), 500 + number, np.uint16), 2),
            (colour_sensor, rgb, colour(number, height, width), 3),
        ):
            frame = rs.software_video_frame()
            frame.pixels, frame.stride, frame.bpp = pixels, width * size, size
            frame.timestamp = 5000.0 + number * 1000 / rate_hz
            frame.domain = rs.timestamp_domain.hardware_clock
            frame.frame_number = number
            frame.profile = profile.as_video_stream_profile()
            sensor.on_video_frame(frame)
    for sensor in sensors:
        sensor.stop()
        sensor.close()
    del recorder  # closes the file
    return path


def _stream(rs, kind, pixel_format, uid, size, width, height, rate_hz):
    intrinsics = rs.intrinsics()
    intrinsics.width, intrinsics.height = width, height
    intrinsics.fx = intrinsics.fy = float(width)
    intrinsics.ppx, intrinsics.ppy = width / 2, height / 2
    intrinsics.model = rs.distortion.brown_conrady
    intrinsics.coeffs = COEFFICIENTS
    stream = rs.video_stream()
    stream.type, stream.fmt, stream.index, stream.uid = kind, pixel_format, 0, uid
    stream.width, stream.height, stream.fps, stream.bpp = width, height, rate_hz, size
    stream.intrinsics = intrinsics
    return stream
