"""What the lab asks of a FastGPT, whichever its edition."""

from provisioning.clients.fastgpt.apps import Apps
from provisioning.clients.fastgpt.datasets import Datasets
from provisioning.clients.fastgpt.models import Models


class FastGptClient(Datasets, Apps, Models):
    """FastGPT with root's session, opened by the first call that needs it; of no edition yet."""
