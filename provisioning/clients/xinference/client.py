"""Xinference's REST interface (`docs/facts/measured.md §2`)."""

from collections.abc import Mapping
from contextlib import suppress

import httpx
from typing_extensions import Unpack

from provisioning.clients.errors import Busy, NotFound, Refused
from provisioning.clients.http import Json, Options, Request, ServiceClient
from provisioning.clients.xinference.failures import concise, is_left_over, kind_of, names_replica
from provisioning.clients.xinference.rows import Autostart, Instance, ModelState, Progress, Way

LAUNCH_SECONDS = 60.0
STOP_SECONDS = 120.0
CANCEL_SECONDS = 120.0


class XinferenceClient(ServiceClient):
    """Xinference behind Caddy, which asks for the key (`provisioning/caddy/Caddyfile`)."""

    service = "Xinference"

    def __init__(self, base_url: str, api_key: str = "", **options: Unpack[Options]) -> None:
        super().__init__(base_url, **options)
        self._hide(api_key)
        if api_key:
            self._http.headers["Authorization"] = f"Bearer {api_key}"
        self._http.event_hooks = {"response": [_refuse_bad_gateway]}

    def version(self) -> str:
        """The server's version, e.g. `2.12.0`."""
        return str(self._call("GET", "/v1/cluster/version")["version"])

    def launch(self, payload: Mapping[str, Json]) -> None:
        """Start a model, and do not wait for it.

        Only a missing field, GPUs that do not go with the replicas, a bad uid or a taken one
        (Conflict) are refused at once. All else, an unknown model too, shows later in `state`.
        """
        # In the query: in the body it would be handed to the engine.
        waits = {"wait_ready": "false"}
        self._call("POST", "/v1/models", params=waits, json=dict(payload), seconds=LAUNCH_SECONDS)

    def state(self, uid: str, copies: int = 1) -> ModelState:
        """How a model stands; with fewer `copies` than were asked for, it is down."""
        found: Mapping[str, Json] = {}
        way: Way = "open"
        try:
            found = self.describe(uid)
        except Busy:
            way = "opening"
        except NotFound as error:
            way = "broken" if names_replica(uid, error.answer) else "none"
        booked = self._call("GET", "/v1/models/instances", params={"model_uid": uid}) or [{}]
        return self._row(Instance, booked[0]).state(way, found, copies)

    def progress(self, uid: str) -> Progress:
        """How far a launch is. An unknown or failed model reads like one that has not begun."""
        return self._row(Progress, self._call("GET", f"/v1/models/{uid}/progress") or {})

    def describe(self, uid: str) -> dict[str, Json]:
        """What a serving model was launched as; Busy while it loads, NotFound where it failed."""
        return dict(self._call("GET", f"/v1/models/{uid}"))

    def stop(self, uid: str) -> None:
        """Stop a model that has loaded, whether it answers or not; one that is not there is done.

        Busy where it is loading, and goes on loading: a DELETE does not end that.
        """
        try:
            self._call("DELETE", f"/v1/models/{uid}", seconds=STOP_SECONDS)
        except Refused as error:
            if names_replica(uid, error.answer) or is_left_over(error.answer):
                raise Busy(self.service, error.call, error.answer) from None
            if not isinstance(error, NotFound):
                raise

    def cancel(self, uid: str) -> None:
        """Cancel a launch, if there is one. May take a minute to return.

        A model that serves is left alone: it would keep its GPU memory, and no call could reach it.
        At 2.12 the launch goes on unwinding for a while afterwards.
        """
        with suppress(NotFound):
            try:
                self.describe(uid)
            except Busy:
                self._call("POST", f"/v1/models/{uid}/cancel", seconds=CANCEL_SECONDS)

    def put_autostart(self, payload: Mapping[str, Json]) -> None:
        """Have this model started at every start of the server.

        It also starts, at once, every model with an entry that is down: ours, and others'.
        """
        launch = {key: value for key, value in payload.items() if value is not None}
        if payload.get("n_gpu", "") is None:
            # The CPU; an entry loses its nulls, and no n_gpu is a GPU. The worker takes this for
            # the same (2.12.0: core/worker.py, `launch_builtin_model`).
            launch.setdefault("device", "cpu")
        entry = {
            "launch": launch,
            "enabled": True,
            # One after the other, by priority and uid. vLLM claims its share of the card when it
            # loads and fails if less is left, so the small ones come first.
            "priority": 200 if payload.get("model_type", "LLM") == "LLM" else 100,
            "max_retries": 3,
            "retry_interval_seconds": 30,
        }
        self._call("POST", "/v1/autostart/models", json=entry)

    def autostart(self) -> dict[str, bool]:
        """The uids of the models that are started with the server, and whether its turn is to come.

        After a restart they come one by one, for minutes (`docs/facts/measured.md §2 finding 7`).
        """
        entries = self._call("GET", "/v1/autostart/models")["models"]
        return {entry.uid: entry.to_come for entry in self._rows(Autostart, entries)}

    def delete_autostart(self, uid: str) -> None:
        """Forget the autostart entry; nothing happens where there is none."""
        self._call("DELETE", f"/v1/autostart/models/{uid}")

    def _call(self, method: str, path: str, **request: Unpack[Request]) -> Json:
        # Every POST here may be sent twice: a second launch is a Conflict, the rest only reads.
        request["twice_is_harmless"] = True
        response = self._send(method, path, **request)
        if response.is_success:
            return self._json(response)
        try:
            body = response.json()
        except ValueError:
            body = response.text or "(empty body)"
        detail = concise(str(body.get("detail") if isinstance(body, dict) else body))
        said = f"HTTP {response.status_code} {detail}"
        raise self._error(kind_of(response.status_code, detail), response, said)


def _refuse_bad_gateway(response: httpx.Response) -> None:
    """The proxy answers for a Xinference that does not: to its callers, nobody answered."""
    if response.status_code == httpx.codes.BAD_GATEWAY:
        raise httpx.ConnectError("the proxy reaches no Xinference", request=response.request)
