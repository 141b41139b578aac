import os

import numpy as np
import pytest
import torch
from rlco_datasets.episode import check_episode
from rlco_trainer.twin.demonstrations import DemonstrationError, demonstrate, generate
from rlco_trainer.twin.scene import TwinScene
from rlco_trainer.twin.workers import WorkerPool, open_pool, parallel_demonstrations

pytestmark = [pytest.mark.sim, pytest.mark.slow]


def who(batch, number):
    return os.getpid(), len(batch), number


def fail(batch):
    raise ValueError("the worker's own words")


@pytest.fixture(scope="module")
def pool(bench, contract):
    with WorkerPool(bench, contract, "push_cube", workers=2, scenes=3, images="none") as made:
        yield made


def test_each_argument_goes_to_its_own_worker_process(pool):
    answers = pool.map(who, [(10,), (20,)])
    assert [answer[1:] for answer in answers] == [(3, 10), (3, 20)]
    assert len({answer[0] for answer in answers} | {os.getpid()}) == 3
    assert [a[0] for a in pool.map(who, [(1,), (2,)])] == [a[0] for a in answers]


def test_more_work_than_workers_is_refused_by_map_and_ordered_by_imap(pool):
    work = [(number,) for number in range(7)]
    with pytest.raises(ValueError, match="7 arguments for 2 workers"):
        pool.map(who, work)
    assert [answer[2] for answer in pool.imap(who, work)] == list(range(7))


def test_what_a_worker_raises_is_raised_here_and_the_pool_goes_on(pool):
    with pytest.raises(ValueError, match="the worker's own words"):
        pool.map(fail, [()])
    assert pool.map(who, [(1,)])[0][2] == 1


def threads_of(batch):
    return torch.get_num_threads()


def test_one_worker_is_this_process_with_one_thread_while_it_works(bench, contract):
    torch.set_num_threads(2)
    try:
        with open_pool(bench, contract, "push_cube", workers=1, scenes=3) as alone:
            assert len(alone) == 1
            assert alone.map(who, [(7,)]) == [(os.getpid(), 3, 7)]
            assert list(alone.imap(threads_of, [(), ()])) == [1, 1]
            with pytest.raises(ValueError, match="2 arguments for 1 workers"):
                alone.map(who, [(1,), (2,)])
            with pytest.raises(ValueError, match="the worker's own words"):
                alone.map(fail, [()])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_demonstrations_fit_the_contract_and_do_not_depend_on_the_processes(bench, contract):
    here = list(generate(bench, contract, "push_cube", 3, 8))
    there = list(parallel_demonstrations(bench, contract, "push_cube", 3, 8, workers=2))
    alone = list(parallel_demonstrations(bench, contract, "push_cube", 3, 8, workers=1))
    assert len(here) == len(there) == len(alone) == 3
    for one, other in [*zip(here, there, strict=True), *zip(here, alone, strict=True)]:
        check_episode(one, contract)
        assert one.metadata.outcome == "success"
        assert one.metadata.twin_id == bench.id
        assert one.metadata.initial_condition == other.metadata.initial_condition
        assert np.array_equal(one.images["third_person"], other.images["third_person"])
        assert np.array_equal(one.actions, other.actions)
        assert not np.array_equal(one.actions, one.extras["executed_action"])


def test_replaying_what_was_executed_solves_the_task(bench, contract):
    scene = TwinScene(bench, contract, "pick_and_place")
    episode = demonstrate(scene, 3, 0)
    scene.reset(episode.metadata.initial_condition)
    for state, action in zip(episode.state, episode.extras["executed_action"], strict=True):
        assert np.array_equal(scene.state, state)
        scene.step(action)
    assert scene.status().success


def test_a_task_that_cannot_be_solved_is_an_error_that_says_what_to_do(
    bench, contract, monkeypatch
):
    monkeypatch.setattr("rlco_trainer.twin.demonstrations.MAX_STEPS", 2)
    scene = TwinScene(bench, contract, "push_cube", images="none")
    with pytest.raises(DemonstrationError, match=r"push_cube.*from 20 starts.*Lower the noise"):
        demonstrate(scene, 0, 0)


def test_demonstrations_of_drawn_benches_say_which_twin_they_come_from(bench, contract):
    made = list(
        parallel_demonstrations(bench, contract, "close_drawer", 5, 8, workers=1, randomise=True)
    )
    for episode in made:
        check_episode(episode, contract)
        assert episode.metadata.extra["drawn_from"] == bench.id
        assert episode.metadata.extra["generator"] == episode.metadata.operator == "expert"
        assert int(episode.metadata.extra["attempts"]) >= 1
    twins = [episode.metadata.twin_id for episode in made]
    assert bench.id not in twins
    assert twins[0] == twins[3] != twins[4]
