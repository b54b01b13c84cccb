"""A lab with a domain on a rented server, from outside: what visitors and operators send it."""

import ssl
from pathlib import Path
from typing import Any

import httpx

from provisioning.app_graph import FORMS, simple_app
from provisioning.channels import XINFERENCE_URL
from provisioning.clients.fastgpt import CurrentClient
from provisioning.clients.oneapi import FIRST_PASSWORD, Channel, OneApiClient
from provisioning.clients.xinference import XinferenceClient
from provisioning.containers import CERTIFICATE, CERTIFICATE_KEY
from provisioning.knowledge import App
from provisioning.plan import Plan, plan
from provisioning.ports import FASTGPT_PORT, ONEAPI_PORT, SHARE_PORT, XINFERENCE_PORT, page
from provisioning.settings import Settings
from tests.contract.caddy import DOMAIN, Connection
from tests.contract.fastgpt_subject import publish
from tests.server.conftest import PORTS
from tests.server.lab import Lab
from tests.server.shell import until
from tests.unit.certificates import certificate
from tests.unit.program import given

PROMPT = "The library opens at nine. A lost card costs five euros."

# What those behind Caddy listen at, and what carries data.
_PASSED_ON = "-o eth+ -p tcp -m multiport --dports 3000,9000,9997 --tcp-flags PSH PSH"


class Door:
    """Caddy and FastGPT as they are with a domain, an app `app` whose share link is `link`, its key
    `key`, and root's session `token`. Nothing here is sent from the server itself."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        own = {"domain": DOMAIN, **certificate(folder, DOMAIN)}
        self.settings = Settings.model_validate(given("dev", Path("no-key")) | own)
        self._lab, self.address, told = lab, lab.rented.shell.address, plan(self.settings)
        self._trusted = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        self._opened: dict[int, Connection] = {}
        assert told.steps.visitors_counted
        counted = lab.rented.shell.step(told.steps.visitors_counted)
        assert counted.code == 0, counted.said
        # Also with the passwords that other tests changed.
        lab.replace("fastgpt", told.containers["fastgpt"])
        names = {CERTIFICATE: "cert.pem", CERTIFICATE_KEY: "cert.key"}
        files = {place: (folder / name).read_text() for place, name in names.items()}
        caddy = told.containers["caddy"]
        lab.replace("caddy", caddy.model_copy(update={"files": {**caddy.files, **files}}))
        lab.inside("caddy", f"iptables -A OUTPUT {_PASSED_ON}")
        self._seed(told)

    def connection(self, port: int = SHARE_PORT) -> Connection:
        return Connection(self.address, PORTS[port], self._trusted)

    def ask(
        self, call: str, body: Any = None, port: int = SHARE_PORT, **headers: str
    ) -> tuple[int, bytes]:
        """Status and content; by one connection while it lasts, because they are counted."""
        opened = self._opened.setdefault(port, self.connection(port))
        answer = opened.ask(*call.split(" ", 1), body, **headers)
        return answer.status, answer.read()

    def passed_on(self) -> int:
        """How many packets with something in them Caddy has sent to those behind it."""
        told = self._lab.inside("caddy", "iptables -nvxL OUTPUT")
        return int(told.splitlines()[-1].split()[0])

    def close(self) -> None:
        for opened in self._opened.values():
            opened.close()

    def _seed(self, told: Plan) -> None:
        """Through the operators' doors, by our own clients."""
        secrets, chat = self._lab.secrets, self.settings.models[0]
        ports = (XINFERENCE_PORT, ONEAPI_PORT, FASTGPT_PORT)
        xinference, oneapi, fastgpt = (page(self.settings, DOMAIN, port) for port in ports)
        way, key = _Way(self.address, self._trusted), secrets["xinference_key"]
        with XinferenceClient(xinference, key, transport=way) as models:
            models.launch(told.launches[chat.name])
            until(lambda: models.state(chat.name).standing == "serving", "the chat model")
        with OneApiClient(oneapi, transport=way) as gateway:
            gateway.login("root", FIRST_PASSWORD)
            route = {"type": 1, "base_url": XINFERENCE_URL, "key": key}
            gateway.create_channel(Channel(name="chat", models=(chat.name,), **route))
        password = secrets["fastgpt_root"]
        with CurrentClient(fastgpt, password=password, transport=way) as client:
            client.set_models(told.fastgpt_models)
            graph = simple_app(App(name="app", prompt=PROMPT), chat, [], "", FORMS["current"])
            self.app = client.create_app("app", graph.nodes, graph.edges)
            publish(client, self.app, graph)
            self.link = client.create_share_link(self.app, "all", response_detail=True).share_id
            self.key = client.create_api_key(self.app, "notebook").key
            self.token = client.token


class _Way(httpx.HTTPTransport):
    """To the lab by its domain, which no resolver knows."""

    def __init__(self, address: str, trusted: ssl.SSLContext) -> None:
        super().__init__(verify=trusted, trust_env=False)
        self._address = address

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        # Another one: to the first belong the cookies of its answer.
        return super().handle_request(
            httpx.Request(
                request.method,
                request.url.copy_with(host=self._address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": DOMAIN},
            )
        )
