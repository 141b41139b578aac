"""One file a task; `task_named` finds a task by its name."""

from rlco_trainer.twin.tasks.base import SceneView, Task, TaskStatus
from rlco_trainer.twin.tasks.close_drawer import CloseDrawer
from rlco_trainer.twin.tasks.open_drawer import OpenDrawer
from rlco_trainer.twin.tasks.pick_and_place import PickAndPlace
from rlco_trainer.twin.tasks.push_cube import PushCube

TASKS: dict[str, Task] = {
    task.name: task for task in (PickAndPlace(), PushCube(), OpenDrawer(), CloseDrawer())
}


def task_named(name: str) -> Task:
    """Return the task called `name`.

    Raises:
        ValueError: naming the tasks that there are.
    """
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}; choose from {sorted(TASKS)}")
    return TASKS[name]


__all__ = ["TASKS", "SceneView", "Task", "TaskStatus", "task_named"]
