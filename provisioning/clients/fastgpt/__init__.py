"""Client of FastGPT v4.8.8: root's session, and the visitor's side of a share link."""

from provisioning.clients.fastgpt.apps import Apps
from provisioning.clients.fastgpt.datasets import Datasets


class FastGptClient(Datasets, Apps):
    """FastGPT with root's session, opened by the first call that needs it."""
