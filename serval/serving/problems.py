"""What clients are told when something goes wrong: in OpenAI's form, and never a path, an address or a decoder's words."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from serval.refusal import Refusal
from serval.weights import PartMissing

log = logging.getLogger(__name__)

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


class Problem(Exception):  # noqa: N818 - an outcome, not a fault
    """An answer with a status of its own. ``text`` is for strangers."""

    def __init__(self, status: int, text: str, param: str | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.param = status, text, param


def content(status: int, text: str, param: str | None = None) -> dict[str, Any]:
    kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": text, "type": kind, "param": param, "code": str(status)}}


def response(status: int, text: str, param: str | None = None) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {"Retry-After": "10"} if status in (429, 503) else {}
    return JSONResponse(content(status, text, param), status, headers=headers)


def install(app: FastAPI) -> None:
    """Have the application answer with these."""

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> JSONResponse:
        return response(error.status, error.text, error.param)

    @app.exception_handler(PartMissing)
    async def missing(request: Request, error: PartMissing) -> JSONResponse:
        log.warning("%s", error)
        return response(501, "a model that this needs is not on the server; its owner can fetch it")

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> JSONResponse:
        # `what` may be a path or an address, `why` may name one; both were written for whoever owns the machine
        log.info("refused: %s", error)
        return response(400, "the request cannot be honoured as it is")

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(each) for each in first["loc"][1:])[:100] or str(first["loc"][0])
        return response(400, f"{where}: {first['msg'][:200]}", where)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return response(error.status_code, str(error.detail))

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        return response(500, "something went wrong on the server")
