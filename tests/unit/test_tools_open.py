"""`make open`: where the pages are on this machine."""

from __future__ import annotations

from typing import Any

import pytest

from provisioning.tunnel import ServerUnreachable, SshServer
from tests.unit.test_tools_standing import OUTPUTS, REAL
from tools import open as tool
from tools.standing import NoLab, read_lab


def tunnel(server: SshServer, port: int) -> str:
    return f"http://127.0.0.1:{port + 10000}"


def test_every_page_has_an_address_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "open_tunnel", tunnel)
    assert tool.pages(read_lab(REAL, OUTPUTS)) == {
        "FastGPT": "http://127.0.0.1:13000",
        "OneAPI": "http://127.0.0.1:13001",
        "Xinference": "http://127.0.0.1:19997",
        "share link Guide/visitors": "http://127.0.0.1:13000/chat/share?shareId=abc",
    }


@pytest.mark.parametrize(
    ("error", "code"),
    [(NoLab("No lab stands."), 2), (ServerUnreachable("SSH", "reach it", "it is off"), 1)],
)
def test_what_is_in_the_way_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Any, code: int
) -> None:
    def refuse(environ: object) -> None:
        raise error

    monkeypatch.setattr(tool, "find_lab", refuse)
    assert tool.main({}) == code
    assert str(error) in capsys.readouterr().err
