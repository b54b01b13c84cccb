"""The shared parts of the clients: waiting, repeating, masking."""

import httpx
import pytest

from provisioning.clients.errors import DeadlineExceeded, ServiceError, Unexpected, Unreachable
from provisioning.clients.http import Request, ServiceClient
from provisioning.clients.waiting import Waiting, wait_until
from tests.clock import FakeClock


def client(handler: object, clock: FakeClock | None = None) -> ServiceClient:
    transport = httpx.MockTransport(handler)  # type: ignore[arg-type]
    return ServiceClient("http://x:1", transport=transport, clock=clock or FakeClock())


def test_waiting_ends_with_what_look_found() -> None:
    seen = iter([Waiting("1 of 2"), Waiting("1 of 2"), Waiting("2 of 2"), "there"])
    told: list[str] = []

    found = wait_until(
        "it",
        lambda: next(seen),
        service="S",
        deadline=60,
        advice="-",
        clock=FakeClock(),
        progress=told.append,
    )

    assert found == "there"
    assert told == ["1 of 2", "2 of 2"]


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


@pytest.mark.parametrize(
    ("error", "seen", "passed"),
    [(Unreachable, DeadlineExceeded, 5), (Unexpected, Unexpected, 0)],
)
def test_unreachable_counts_as_not_yet_and_other_errors_end_the_waiting(
    error: type[ServiceError], seen: type[ServiceError], passed: float
) -> None:
    clock = FakeClock()

    def look() -> bool:
        raise error("S", "GET /", "connection refused")

    with pytest.raises(seen, match="connection refused"):
        wait_until("it", look, service="S", deadline=5, advice="-", clock=clock)
    assert clock.passed == passed


@pytest.mark.parametrize(
    ("method", "error", "options", "tries"),
    [
        ("GET", httpx.ReadError, {}, 3),
        # It may have arrived.
        ("POST", httpx.ReadError, {}, 1),
        ("POST", httpx.ReadError, {"twice_is_harmless": True}, 3),
        # It never left.
        ("POST", httpx.ConnectError, {}, 3),
        ("POST", httpx.ConnectTimeout, {}, 3),
    ],
)
def test_what_is_repeated_over_a_broken_connection(
    method: str, error: type[httpx.TransportError], options: Request, tries: int
) -> None:
    tried: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        tried.append(1)
        if len(tried) < 3:
            raise error("cut off", request=request)
        return httpx.Response(200)

    if tries == 3:
        assert client(handler)._send(method, "/", **options).status_code == 200
    else:
        with pytest.raises(Unreachable, match="cut off"):
            client(handler)._send(method, "/", **options)
    assert len(tried) == tries


def test_repeating_ends() -> None:
    clock = FakeClock()

    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(Unreachable):
        client(handler, clock)._send("GET", "/")
    assert 30 <= clock.passed < 40


def test_a_page_that_is_no_json_is_unexpected_shortened_and_holds_no_secret() -> None:
    page = "<html>bad token hunter22-secret" + "x" * 5000
    asked = client(lambda _: httpx.Response(502, text=page))
    asked._hide("hunter22-secret")

    with pytest.raises(Unexpected, match="HTTP 502") as error:
        asked._json(asked._send("GET", "/a", params={"name": "n"}))
    assert len(str(error.value)) < 1000
    assert error.value.call == "GET /a"
    assert "hunter22" not in str(error.value)


def test_the_environments_proxy_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    # httpx raises ImportError for a SOCKS proxy it finds in the environment.
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")

    with ServiceClient("http://127.0.0.1:1") as made:
        assert not made._http.trust_env
