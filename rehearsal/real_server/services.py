"""The lab's images, made where the real ones cannot be pulled, under the names that a lab pulls.

PostgreSQL with pgvector, MariaDB and Redis are Debian's, OneAPI (on that MariaDB) and Caddy the
real ones, and S3 is moto's server, which keeps in memory what it is given and judges no key.
Sandboxes and MongoDB are stand-ins in Node, which is real, as in the images. Xinference, FastGPT
and its plugin are our doubles; FastGPT's keeps in PostgreSQL what the real one has there and in
MongoDB.
"""

from collections.abc import Mapping
from pathlib import Path

import docker

from rehearsal import images
from rehearsal.processes import PROJECT
from rehearsal.real_caddy import PROGRAM as CADDY
from rehearsal.real_oneapi.run import CL100K, O200K
from rehearsal.real_server.images import made
from tools import oneapi_build
from tools.process import Say

_CONTEXT = Path(__file__).with_name("services")
_MADE = (
    *("pg", "mysql", "oneapi", "sandbox", "mongo", "xinference", "caddy", "fastgpt"),
    *("fastgpt-current", "plugin", "code-sandbox", "redis", "minio"),
)
_DOUBLES = (
    "provisioning/__init__.py",
    "provisioning/pdf_text.py",
    "provisioning/vendor.*",
    "rehearsal/__init__.py",
    "rehearsal/faults.py",
    "rehearsal/inside.py",
    "rehearsal/doubles/*.*",
    "rehearsal/doubles/fastgpt/*.*",
    "rehearsal/doubles/xinference/*.*",
)


def service_images(client: docker.DockerClient, say: Say) -> dict[str, str]:
    """Service to the tag of its image, made now where it is not there yet: minutes, once. Raises
    NoEngine, SetupError: as `images.ready`, or OneAPI cannot be built."""
    arguments = {"CL100K": CL100K, "O200K": O200K}
    files = {"one-api": oneapi_build.binary(say), "caddy": CADDY, **double_files()}
    return made(client, _CONTEXT, _MADE, arguments, files, say)


def image_for(made: Mapping[str, str], service: str, reference: str) -> str:
    """Of `service_images`, what stands for the image that the lab pulls for a service: of FastGPT
    each edition has its own."""
    row = images.find(images.parse(reference))
    return made[row.name if row and row.name in made else service]


def double_files() -> dict[str, Path]:
    """What the doubles are made of: the path in their images to the file."""
    found = (path for form in _DOUBLES for path in PROJECT.glob(form))
    return {str(path.relative_to(PROJECT)): path for path in found}
