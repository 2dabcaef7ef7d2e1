"""The whole schema, asked with whatever fits and whatever does not: never a server's error, never a path of this machine."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from starlette.testclient import TestClient

from serval.serving.app import create_app
from serval.serving.limits import Limits
from serval.serving.options import ServeOptions

ENDLESS = ("/v1/events",)  # goes on for as long as somebody reads
OWN = ("/v1/chat", "/v1/responses", "/v1/audio", "/v1/embeddings")  # models that think about every example: few of these


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    limits = Limits(requests=10**9, streams=2, all_streams=2)
    return create_app(ServeOptions(folder=tmp_path_factory.mktemp("service"), hosts=("testserver",), limits=limits))


def test_never_a_servers_error(app):
    asked, answers = 0, set()
    with TestClient(app, raise_server_exceptions=False):
        schema = schemathesis.openapi.from_asgi("/openapi.json", app)
        for found in schema.get_all_operations():
            operation = found.ok()
            if operation.path.startswith(ENDLESS):
                continue

            @settings(
                max_examples=3 if operation.path.startswith(OWN) else 20,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE) | operation.as_strategy())
            def ask(case):
                nonlocal asked
                answer = case.call()
                asked += 1
                answers.add(answer.status_code)
                where = f"{case.method} {case.path} {answer.status_code} {answer.text[:300]}"
                assert answer.status_code < 500 or answer.status_code == 501, where
                assert not any(each in answer.text for each in ("Traceback", "/tmp/", "site-packages", "/work/")), where
                if answer.status_code >= 400:
                    assert answer.json()["error"]["message"], where

            ask()
    assert asked > 100 and {200, 400, 404} <= answers
