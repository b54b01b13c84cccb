"""The lab's images, made where the real ones cannot be pulled, under the names that a lab pulls.

PostgreSQL with pgvector and MariaDB are Debian's, OneAPI (on that MariaDB) and Caddy the real ones.
Sandbox and MongoDB are stand-ins in Node, which is real, as in the images. Xinference and FastGPT
are our doubles; FastGPT's keeps in PostgreSQL what the real one has there and in MongoDB.
"""

from pathlib import Path

import docker

from rehearsal.processes import PROJECT
from rehearsal.real_caddy import PROGRAM as CADDY
from rehearsal.real_oneapi.vocabulary import CL100K, O200K
from rehearsal.real_server.images import made
from tools import oneapi_build
from tools.process import Say

_CONTEXT = Path(__file__).with_name("services")
_MADE = ("pg", "mysql", "oneapi", "sandbox", "mongo", "xinference", "caddy", "fastgpt")
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


def double_files() -> dict[str, Path]:
    """What the doubles are made of: the path in their images to the file."""
    found = (path for form in _DOUBLES for path in PROJECT.glob(form))
    return {str(path.relative_to(PROJECT)): path for path in found}
