"""The operator's routes: load, unload, route, and the alias map of a blind server."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rlco_policy_server.audit import Audit
from rlco_policy_server.endpoints.body import read_body
from rlco_policy_server.endpoints.documents import refusals
from rlco_policy_server.engine import WarmUpError
from rlco_policy_server.errors import RequestError
from rlco_policy_server.gateway import Gateway
from rlco_policy_server.guard import require_operator
from rlco_policy_server.policies import ServedPolicy
from rlco_policy_server.references import CheckpointReferenceError

M = TypeVar("M", bound=BaseModel)
MAX_BODY_BYTES = 16 * 1024
MAX_ROUTES = 4096
Alias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
SessionName = Annotated[str, Path(min_length=1, max_length=128)]


class PolicyLoader(Protocol):
    """Turns a reference into a policy; blocks while it reads the weights."""

    def load(self, alias: str, reference: str) -> ServedPolicy:
        """Return the policy; raises `CheckpointReferenceError`."""


class LoadRequest(BaseModel):
    """Which checkpoint to serve under which alias."""

    model_config = ConfigDict(extra="forbid")
    alias: Alias
    reference: Annotated[str, Field(min_length=1, max_length=4096)]


class RouteRequest(BaseModel):
    """Which alias answers a session."""

    model_config = ConfigDict(extra="forbid")
    policy: Alias


class PolicyState(BaseModel):
    """What an alias stands for."""

    policy_id: str
    reference: str
    normalisation_id: str | None
    device: str


def router(gateway: Gateway, loader: PolicyLoader | None, audit: Audit) -> APIRouter:
    """Return the routes of `/v1/operate`, all for operators only."""
    routes = APIRouter(
        prefix="/v1/operate",
        tags=["operate"],
        dependencies=[Depends(require_operator)],
        responses=refusals(400, 401, 403, 404, 409, 413, 422, 501),
    )
    one_at_a_time = asyncio.Lock()
    policies = gateway.engine.policies

    @routes.get("/aliases")
    async def aliases() -> dict[str, PolicyState]:
        """What every alias stands for. Reading this unblinds, and is written to the audit log."""
        found = {served.alias: _state(served) for served in policies}
        audit.note("unblinded", aliases={a: state.policy_id for a, state in found.items()})
        return found

    @routes.post("/policies", openapi_extra=_body_of(LoadRequest))
    async def load(request: Request) -> PolicyState:
        """Load a checkpoint and serve it; what its alias stood for finishes its open requests."""
        wanted = await _json(request, LoadRequest)
        if loader is None:
            raise RequestError(
                501, "no_loader", "This server loads no checkpoints.", "Use rlco-serve."
            )
        async with one_at_a_time:  # two loads at once could exceed the memory of the device
            try:
                served = await asyncio.to_thread(loader.load, wanted.alias, wanted.reference)
                await asyncio.to_thread(gateway.engine.warm_up, served)
            except (CheckpointReferenceError, WarmUpError) as error:
                raise RequestError(
                    422, "cannot_load", str(error), "The policies served before are unchanged."
                ) from error
            before = policies.put(served)
        audit.note(
            "loaded",
            alias=served.alias,
            policy_id=served.policy_id,
            reference=served.reference,
            replaced=before.policy_id if before else None,
        )
        return _state(served)

    @routes.delete("/policies/{alias}")
    async def unload(alias: Annotated[str, Path(max_length=64)]) -> PolicyState:
        """Take a policy out of service; its open requests are answered."""
        served = policies.remove(alias)
        audit.note("unloaded", alias=alias, policy_id=served.policy_id)
        return _state(served)

    @routes.put("/sessions/{session}", openapi_extra=_body_of(RouteRequest))
    async def route(session: SessionName, request: Request) -> RouteRequest:
        """Let an alias answer a session's requests that name no policy."""
        wanted = await _json(request, RouteRequest)
        policies.select(wanted.policy)
        if len(gateway.routes) >= MAX_ROUTES and session not in gateway.routes:
            raise RequestError(
                409, "too_many_routes", f"{MAX_ROUTES} sessions are routed.", "Delete some."
            )
        gateway.routes[session] = wanted.policy
        audit.note("routed", session=session, alias=wanted.policy)
        return wanted

    @routes.delete("/sessions/{session}", status_code=204)
    async def unroute(session: SessionName) -> None:
        """Let a session be answered by the policy it names, or the default one."""
        gateway.routes.pop(session, None)
        audit.note("unrouted", session=session)

    return routes


def _state(served: ServedPolicy) -> PolicyState:
    return PolicyState(
        policy_id=served.policy_id,
        reference=served.reference,
        normalisation_id=served.normalisation_id,
        device=served.device,
    )


def _body_of(model: type[BaseModel]) -> dict[str, Any]:
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


async def _json(request: Request, model: type[M]) -> M:
    """Return the body as `model` accepts it; read here, as FastAPI reads without a limit."""
    body = await read_body(request, MAX_BODY_BYTES)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise RequestError(
            422, "bad_body", f"{where}: {first['msg']}.", "Send JSON as /docs describes it."
        ) from error
