"""Turns a graph of `rlco.bringup` into a launch description.

`launch` and `launch_ros` are imported inside, since they are not on PyPI: `rlco-up` runs the same
graphs without them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rlco.bringup import GRAPHS, environment
from rlco.launcher import LAUNCHER_PID

if TYPE_CHECKING:
    from launch import LaunchContext, LaunchDescription


def launch_description(name: str) -> LaunchDescription:
    """Return the launch description of the graph called `name`.

    When one node ends, everything is shut down.
    """
    from launch import LaunchDescription
    from launch.actions import (
        DeclareLaunchArgument,
        EmitEvent,
        OpaqueFunction,
        RegisterEventHandler,
        SetEnvironmentVariable,
    )
    from launch.event_handlers import OnProcessExit
    from launch.events import Shutdown
    from launch_ros.actions import Node

    graph = GRAPHS[name]

    def nodes(context: LaunchContext) -> list[Any]:
        values = {
            argument.name: context.launch_configurations[argument.name]
            for argument in graph.arguments
        }
        actions: list[Any] = [
            SetEnvironmentVariable(key, value)
            for key, value in (environment(values) | {LAUNCHER_PID: str(os.getpid())}).items()
        ]
        for node in graph.nodes(values):
            action = Node(
                package="rlco",
                executable=node.program,
                name=node.name,
                namespace=values["namespace"],
                parameters=[dict(node.parameters)],
                output="screen",
            )
            reason = f"{node.name} ended"
            actions += [
                action,
                RegisterEventHandler(
                    OnProcessExit(
                        target_action=action,
                        on_exit=[EmitEvent(event=Shutdown(reason=reason))],
                    )
                ),
            ]
        return actions

    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(
                    argument.name,
                    description=argument.description,
                    **({} if argument.default is None else {"default_value": argument.default}),
                )
                for argument in graph.arguments
            ),
            OpaqueFunction(function=nodes),
        ]
    )
