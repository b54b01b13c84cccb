"""`make open`: the lab's pages through SSH, on this machine's own ports, and in the browser.

python -m tools.open          STACK=name in the environment

Nothing goes over the Internet in clear, and the server's host key is checked. It stands until
Ctrl-C. The exit code: 0 it ended so, 1 the server lets nobody in, 2 there is no lab.
"""

import os
import signal
import sys
import webbrowser
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from provisioning.clients.errors import ServiceError
from provisioning.ports import PUBLISHED, XINFERENCE_PORT
from provisioning.tunnel import open_tunnel
from tools.standing import Lab, NoLab, find_lab


def pages(lab: Lab) -> dict[str, str]:
    """Page to its address on this machine, FastGPT's first.

    Raises:
        ServiceError: the server is not reached, or is another one than at the first contact.
    """
    doors = {
        name: open_tunnel(lab.server, port)
        for port, name in PUBLISHED.items()
        if port != XINFERENCE_PORT or lab.xinference_url
    }
    shared = {
        f"share link {name}": f"{doors['FastGPT']}{urlsplit(url).path}?{urlsplit(url).query}"
        for name, url in lab.share_links.items()
    }
    return {**doors, **shared}


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Open, and stay; returns the exit code."""
    try:
        opened = pages(find_lab(environ))
    except NoLab as problem:
        print(problem, file=sys.stderr)
        return 2
    except ServiceError as error:
        print(error, file=sys.stderr)
        return 1
    for name, address in opened.items():
        print(f"{name:<12} {address}")
    print("They stand until Ctrl-C. Passwords: pulumi stack output --show-secrets", flush=True)
    webbrowser.open(opened["FastGPT"])
    with suppress(KeyboardInterrupt):
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
