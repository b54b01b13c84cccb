"""Client of Xinference, releases 2.12 and 4.1 (`docs/facts/xinference.md`)."""

from provisioning.clients.xinference.client import XinferenceClient as XinferenceClient
from provisioning.clients.xinference.failures import advice_for as advice_for
from provisioning.clients.xinference.failures import is_failed_download as is_failed_download
from provisioning.clients.xinference.failures import is_left_over as is_left_over
from provisioning.clients.xinference.failures import is_unknown_model as is_unknown_model
from provisioning.clients.xinference.rows import DOWNLOAD_STEP as DOWNLOAD_STEP
from provisioning.clients.xinference.rows import DOWNLOADED as DOWNLOADED
from provisioning.clients.xinference.rows import ModelState as ModelState
from provisioning.clients.xinference.rows import Progress as Progress
