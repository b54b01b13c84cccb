"""The shared parts of the clients: waiting, repeating, masking."""

from __future__ import annotations

import httpx
import pytest

from provisioning.clients.http import (
    DeadlineExceeded,
    ServiceClient,
    ServiceError,
    Unexpected,
    Unreachable,
    Waiting,
    wait_until,
)
from tests.unit.fake_services import FakeClock


def client(handler: object, clock: FakeClock | None = None) -> ServiceClient:
    transport = httpx.MockTransport(handler)  # type: ignore[arg-type]
    return ServiceClient("http://x:1", transport=transport, clock=clock or FakeClock())


def test_waiting_ends_with_what_look_found() -> None:
    clock, seen = FakeClock(), iter([Waiting("1 of 2"), Waiting("1 of 2"), "there"])
    told: list[str] = []

    found = wait_until(
        "it", lambda: next(seen), service="S", deadline=60, clock=clock, progress=told.append
    )

    assert found == "there"
    assert told == ["1 of 2"]


def test_a_deadline_says_what_was_waited_for_seen_and_what_to_do() -> None:
    with pytest.raises(DeadlineExceeded) as error:
        wait_until(
            "the model",
            lambda: Waiting("3 of 9 GiB"),
            service="S",
            deadline=10,
            advice="run it again",
            clock=FakeClock(),
        )

    assert (error.value.waited_for, error.value.last_seen) == ("the model", "3 of 9 GiB")
    for part in ("the model", "3 of 9 GiB", "run it again"):
        assert part in str(error.value)


def test_unreachable_counts_as_not_yet_and_is_the_last_thing_seen() -> None:
    def look() -> bool:
        raise Unreachable("S", "GET /", "connection refused")

    with pytest.raises(DeadlineExceeded, match="connection refused"):
        wait_until("it", look, service="S", deadline=5, clock=FakeClock())


def test_other_errors_end_the_waiting_at_once() -> None:
    clock = FakeClock()

    def look() -> bool:
        raise Unexpected("S", "GET /", "no")

    with pytest.raises(Unexpected):
        wait_until("it", look, service="S", deadline=5, clock=clock)
    assert clock.passed == 0


def test_a_read_is_repeated_over_a_broken_connection() -> None:
    tries: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        tries.append(1)
        if len(tries) < 3:
            raise httpx.ReadError("cut off", request=request)
        return httpx.Response(200)

    assert client(handler)._send("GET", "/").status_code == 200


def test_a_post_that_may_have_arrived_is_not_repeated() -> None:
    tries: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        tries.append(1)
        raise httpx.ReadError("cut off", request=request)

    with pytest.raises(Unreachable, match="cut off"):
        client(handler)._send("POST", "/")
    assert len(tries) == 1


def test_a_post_that_never_left_is_repeated() -> None:
    tries: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        tries.append(1)
        if len(tries) < 2:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(200)

    assert client(handler)._send("POST", "/").status_code == 200


def test_repeating_ends() -> None:
    clock = FakeClock()

    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(Unreachable):
        client(handler, clock)._send("GET", "/")
    assert 30 <= clock.passed < 40


def test_a_page_that_is_no_json_is_unexpected_and_shortened() -> None:
    page = "<html>" + "x" * 5000
    asked = client(lambda _: httpx.Response(502, text=page))

    with pytest.raises(Unexpected, match="HTTP 502") as error:
        asked._json(asked._send("GET", "/a"))
    assert len(str(error.value)) < 1000
    assert error.value.call == "GET /a"


def test_secrets_stay_out_of_repr_and_errors() -> None:
    asked = client(lambda _: httpx.Response(500, text="bad token hunter22-secret"))
    asked._hide("hunter22-secret")

    with pytest.raises(ServiceError) as error:
        asked._json(asked._send("GET", "/"))
    assert "hunter22" not in str(error.value)
    assert "hunter22" not in repr(asked)


def test_the_environments_proxy_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    # httpx raises ImportError for a SOCKS proxy it finds in the environment.
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")

    with ServiceClient("http://127.0.0.1:1") as made:
        assert not made._http.trust_env
