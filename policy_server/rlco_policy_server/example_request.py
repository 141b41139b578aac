"""Writes the body of one request, for curl.

python -m rlco_policy_server.example_request --out request.msgpack
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from rlco_datasets.contract import BUILT_IN, Contract, load_contract
from rlco_datasets.frames import look_at, state_vector

from rlco_policy_server.wire import v1


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Write the msgpack body of one `POST /v1/infer`: grey images, the arm above the table.

    In: a contract. Out: a file for `curl --data-binary @FILE`.
    Example: `python -m rlco_policy_server.example_request --out request.msgpack`.
    """

    out: Path
    """The file to write."""
    contract: str = "franka_compact"
    """A built-in contract (franka_compact, franka_third_person) or a contract's YAML file."""
    policy: str | None = None
    """The alias to ask; by default the server's own."""
    instruction: str = "put the cube in the bowl"
    """What the policy is told to do."""


def example_request(
    contract: Contract, *, instruction: str, policy: str | None, stamp_ns: int
) -> v1.InferRequest:
    """Return a request that a server of `contract` answers: grey frames, tool down, 0.3 m up."""
    T_base_tcp = look_at((0.45, 0.0, 0.3), (0.45, 0.0, 0.0), up=(1.0, 0.0, 0.0))
    return v1.InferRequest(
        images={
            camera.name: np.full((camera.source_height, camera.source_width, 3), 128, np.uint8)
            for camera in contract.cameras
        },
        state=state_vector(T_base_tcp, contract.gripper_max_width_m),
        instruction=instruction,
        session="example",
        step=0,
        stamp_ns=stamp_ns,
        contract_id=contract.id,
        policy=policy,
    )


def main() -> None:
    """Run the command."""
    arguments = tyro.cli(Arguments)
    name = arguments.contract
    contract = BUILT_IN[name]() if name in BUILT_IN else load_contract(name)
    request = example_request(
        contract,
        instruction=arguments.instruction,
        policy=arguments.policy,
        stamp_ns=time.time_ns(),
    )
    arguments.out.write_bytes(v1.encode_request(request))


if __name__ == "__main__":
    main()
