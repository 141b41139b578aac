"""One router per protocol, each `router(gateway, settings) -> APIRouter`."""
