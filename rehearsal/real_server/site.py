"""A data centre of real servers: `rehearsal.world` rents its servers here with `--real-server`."""

from collections.abc import Callable, Mapping
from pathlib import Path

from rehearsal.addresses import PUBLISHED_PORTS
from rehearsal.real_server.engine import local_engine
from rehearsal.real_server.images import ready
from rehearsal.real_server.server import Grounds, RealServer
from rehearsal.real_server.services import image_for, service_images
from rehearsal.server.description import Description
from tools.process import Say


def make_images(say: Say) -> None:
    """All that a site is made of, in minutes where it is not there yet. Raises NoEngine,
    SetupError: see `images.ready`."""
    engine = local_engine()
    ready(engine, say)
    service_images(engine, say)


class Site:
    """Network, mirror and servers. What is pulled there is in the mirror from the start."""

    def __init__(self, references: Mapping[str, str], say: Say) -> None:
        """Made and open; `make_images` has seen to its images. `references`: service to the image
        that the lab pulls for it. Raises NoEngine, SetupError: see `images.ready`."""
        engine = local_engine()
        self._grounds = Grounds(engine, ready(engine, say))
        self.close = self._grounds.close
        try:
            self._grounds.open()
            made = service_images(engine, say)
            for service, reference in references.items():
                say(f"Publishing {reference}")
                self._grounds.publish(image_for(made, service, reference), reference)
        except BaseException:
            self.close()
            raise

    def machine(self, told: Description, _admits: Callable[[int, str], bool]) -> RealServer:
        """A server as `rehearsal.data_centre` orders it. No firewall stands in front of it."""
        ports = {22: told.ssh_port, **{port: port for port in PUBLISHED_PORTS}}
        published = {inside: (told.address, outside) for inside, outside in ports.items()}
        return RealServer(self._grounds, Path(told.root).name, told.authorized_key, published)
