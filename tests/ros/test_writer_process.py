"""The recorder's writing process: what goes in comes out, whatever dies in between."""

import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from rlco_datasets.contract import ContractMismatchError, franka_compact, franka_third_person
from rlco_datasets.episode import EpisodeMetadata
from rlco_datasets.frames import apply_delta, pose_matrix
from rlco_datasets.store import EpisodeStore, StoreError

pytestmark = pytest.mark.ros
CONTRACT = franka_compact()
P = CONTRACT.period_ns
START = pose_matrix((0.5, 0.0, 0.2), np.diag([1.0, -1.0, -1.0]))
MB = 1_000_000


def metadata(**changes):
    fields = {
        "source": "real",
        "task": "pick_and_place",
        "instruction": "put the cube in the bowl",
        "operator": "test",
        "outcome": "success",
        "contract_id": CONTRACT.id,
        "software_version": "0",
        "created_utc": datetime.now(UTC).isoformat(),
    }
    return EpisodeMetadata(**(fields | changes))


@pytest.fixture
def make(ros, tmp_path):
    """Make writers of one store; each is closed at the end."""
    from rlco.core.recording import RecordedTopics
    from rlco.nodes.recorder_link import EpisodeWriter
    from rlco.nodes.recorder_worker import WorkerSettings

    topics = RecordedTopics(
        images={"third_person": "cameras/third_person/image_raw"},
        pose="current_pose",
        width="fingers",
        target="target_pose",
        width_target="gripper/target",
    )
    made, told = [], []

    def writer(contract=CONTRACT, capacity_bytes=64 * MB, session="", raw=False):
        settings = WorkerSettings(
            store=str(tmp_path / "store"),
            contract=contract,
            topics=topics,
            session=session,
            raw=raw,
        )
        made.append(EpisodeWriter(settings, capacity_bytes=capacity_bytes, complain=told.append))
        return made[-1]

    writer.told = told
    yield writer
    for item in made:
        item.close()


def messages(steps, start_ns=7 * P, step_m=0.001):
    """Yield (topic, stamp, serialized message) of an episode that moves `step_m` a step."""
    from rclpy.serialization import serialize_message
    from rlco.nodes import wire

    spec = CONTRACT.camera("third_person")
    for step in range(steps):
        stamp = start_ns + step * P
        frame = np.full((spec.source_height, spec.source_width, 3), step, np.uint8)
        pose = apply_delta(START, [step_m * step, 0, 0, 0, 0, 0])
        target = apply_delta(START, [step_m * (step + 1), 0, 0, 0, 0, 0])
        for topic, message in (
            ("cameras/third_person/image_raw", wire.image_message(frame, "camera", stamp)),
            ("current_pose", wire.stamped_pose(pose, stamp)),
            ("fingers", wire.fingers(0.08, stamp)),
            ("target_pose", wire.stamped_pose(target, stamp)),
            ("gripper/target", wire.gripper_target(0.08, stamp)),
        ):
            yield topic, stamp, serialize_message(message)


def record(writer, steps, **changes):
    writer.begin()
    for topic, stamp, raw in messages(steps):
        assert writer.offer(topic, stamp, raw)
    return writer.finish(metadata(**changes))


def test_the_stamp_and_the_type_are_read_from_the_serialized_message(ros):
    from rlco.core.recording import RecordedTopics
    from rlco.nodes.recorded import raw_stamp_ns, readers
    from rlco.nodes.wire import WireError

    stamps = {stamp for _, stamp, _ in messages(3)}
    assert stamps == {raw_stamp_ns(raw) for _, _, raw in messages(3)}
    with pytest.raises(WireError, match="3 bytes has no header"):
        raw_stamp_ns(b"abc")
    topics = RecordedTopics(
        images={"third_person": "image"}, pose="p", width="w", target="t", width_target="wt"
    )
    kinds = {topic: reader.type_name for topic, reader in readers(topics, CONTRACT).items()}
    assert kinds["image"] == "sensor_msgs/msg/Image"
    assert kinds["p"] == kinds["t"] == "geometry_msgs/msg/PoseStamped"
    assert set(kinds) == set(topics.all)


def test_an_episode_beyond_the_contracts_steps_is_kept_flagged_and_told_of(make, tmp_path):
    writer = make()
    writer.begin()
    for topic, stamp, raw in messages(4, step_m=2 * CONTRACT.max_translation_m):
        writer.offer(topic, stamp, raw)
    written = writer.finish(metadata(extra={"session": "monday"})).result(60)
    assert written.flags == ("step_shortened",)
    assert "flagged step_shortened (4 of 4 steps, the first 0, moved further" in written.warning
    writer.close()
    store = EpisodeStore.open(tmp_path / "store", contract=CONTRACT)
    kept = store.metadata(0)
    assert kept.flags == written.flags
    assert kept.extra == {"session": "monday", **written.notes}
    np.testing.assert_allclose(store.episode(0).actions[:, 0], CONTRACT.max_translation_m)


def test_episodes_are_written_and_an_error_costs_only_its_own(make, tmp_path):
    writer = make()
    first = record(writer, 5).result(60)
    assert (first.index, first.steps, first.flags) == (0, 5, ())
    writer.begin()
    with pytest.raises(ValueError, match="nothing was received on"):
        writer.finish(metadata()).result(60)
    record(writer, 3, flags=("samples_dropped",)).result(60)
    writer.begin()
    for topic, stamp, raw in messages(4):
        writer.offer(topic, stamp, raw[:40] if topic == "current_pose" and stamp == 8 * P else raw)
    writer.discard()
    assert record(writer, 2).result(60).index == 2
    writer.close()
    store = EpisodeStore.open(tmp_path / "store", contract=CONTRACT)
    assert store.lengths.tolist() == [5, 3, 2]
    assert store.metadata(1).flags == ("samples_dropped",)
    episode = store.episode(0)
    np.testing.assert_allclose(episode.actions[:, 0], 0.001, atol=1e-6)
    assert episode.images["third_person"][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]


def test_an_unreadable_message_is_told_once_and_left_out(make):
    from rclpy.serialization import serialize_message
    from rlco.nodes import wire

    writer = make()
    writer.begin()
    for topic, stamp, raw in messages(6):
        if topic == "fingers" and stamp in (9 * P, 10 * P):
            broken = wire.joint_state(("one",), (0.1,), stamp)
            raw = serialize_message(broken)
        writer.offer(topic, stamp, raw)
    assert writer.finish(metadata()).result(60).flags == ("rate_missed",)
    assert [
        text for text in make.told if "fingers: not recorded: expected two" in text
    ] == make.told


def test_a_store_is_continued_by_session_and_another_contract_is_refused(make):
    for number in range(2):
        writer = make(session="monday")
        assert (writer.episodes, writer.committed) == (number, number)
        told = {"extra": {"session": "monday"}}
        assert record(writer, 3, **told).result(60).index == number
        with pytest.raises(StoreError, match="open for writing"):
            make()
        writer.close()
    writer = make(session="monday")
    record(writer, 3, outcome="failure", extra={"session": "monday"}).result(60)
    writer.close()
    assert (make(session="tuesday").committed,) == (0,)
    with pytest.raises(ContractMismatchError, match="horizon"):
        make(contract=franka_third_person())


def test_a_full_buffer_drops_samples_and_never_waits(make):
    writer = make(capacity_bytes=MB)
    os.kill(writer.pid, signal.SIGSTOP)
    try:
        writer.begin()
        taken = [writer.offer(*message) for message in messages(40)]
        assert not all(taken)
        assert writer.buffer_used > 0.5
    finally:
        os.kill(writer.pid, signal.SIGCONT)
    with pytest.raises(ValueError, match="the episode has a hole"):
        writer.finish(metadata()).result(60)
    writer.begin()
    for message in messages(3):
        assert writer.offer(*message)
    assert writer.finish(metadata()).result(60).steps == 3


def test_a_killed_process_is_told_and_the_store_is_whole(make, tmp_path):
    writer = make()
    record(writer, 4).result(60)
    writer.begin()
    for message in messages(3):
        writer.offer(*message)
    os.kill(writer.pid, signal.SIGKILL)
    with pytest.raises(OSError, match="writing process ended"):
        writer.finish(metadata()).result(60)
    assert not writer.alive
    assert any("ended by itself" in text for text in make.told)
    writer.close()
    again = make()
    assert again.episodes == 1
    assert record(again, 2).result(60).index == 1
    again.close()
    assert EpisodeStore.open(tmp_path / "store").lengths.tolist() == [4, 2]


def test_the_raw_bag_holds_every_message_and_goes_with_its_episode(make, tmp_path):
    from mcap_ros2.reader import read_ros2_messages
    from rosbags.highlevel import AnyReader

    writer = make(raw=True)
    record(writer, 3).result(60)
    writer.begin()
    for message in messages(2):
        writer.offer(*message)
    writer.discard()
    assert record(writer, 4).result(60).index == 1
    writer.close()
    folder = Path(f"{tmp_path / 'store'}-raw")
    assert sorted(path.name for path in folder.iterdir()) == ["000000", "000001"]
    with AnyReader([folder / "000001"]) as bag:
        assert bag.message_count == 4 * 5
        poses = [
            (stamp, bag.deserialize(raw, connection.msgtype))
            for connection, stamp, raw in bag.messages()
            if connection.topic == "/target_pose"
        ]
    assert [stamp for stamp, _ in poses] == [(7 + step) * P for step in range(4)]
    assert [round(m.pose.position.x - 0.5, 9) for _, m in poses] == [0.001, 0.002, 0.003, 0.004]
    (mcap,) = (folder / "000001").glob("*.mcap")  # Foxglove's own reader, without rosbags
    seen = [
        item.ros_msg
        for item in read_ros2_messages(str(mcap))
        if item.channel.topic.endswith("image_raw")
    ]
    assert [item.data[0] for item in seen] == [0, 1, 2, 3]
