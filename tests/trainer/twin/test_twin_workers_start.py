import pytest
from rlco_trainer.twin import workers

SLOW = "The current node timed out during startup. This could happen because ..."


class FakeRay:
    """Fails to start with the given messages, one after the other, then starts."""

    def __init__(self, *messages):
        self.messages, self.starts, self.stops = list(messages), 0, 0

    def init(self, **options):
        self.starts += 1
        if self.messages:
            raise Exception(self.messages.pop(0))  # as Ray does

    def shutdown(self):
        self.stops += 1


def test_a_start_that_timed_out_is_tried_again():
    ray = FakeRay(SLOW, SLOW)
    workers._start_ray(ray, 2, None)
    assert (ray.starts, ray.stops) == (3, 2)


def test_it_is_not_tried_for_ever():
    ray = FakeRay(*[SLOW] * 100)
    with pytest.raises(Exception, match="timed out during startup"):
        workers._start_ray(ray, 2, None)
    assert ray.starts == ray.stops == workers.START_ATTEMPTS


def test_any_other_failure_is_told_at_once():
    ray = FakeRay("no space left")
    with pytest.raises(Exception, match="no space left"):
        workers._start_ray(ray, 2, None)
    assert (ray.starts, ray.stops) == (1, 1)
