"""Clients of OneAPI v0.6.6 (and v0.6.10): its management interface and its relay."""

from provisioning.clients.oneapi.management import FIRST_PASSWORD as FIRST_PASSWORD
from provisioning.clients.oneapi.management import OneApiClient as OneApiClient
from provisioning.clients.oneapi.relay import NoChannel as NoChannel
from provisioning.clients.oneapi.relay import OneApiRelay as OneApiRelay
from provisioning.clients.oneapi.relay import UpstreamFailed as UpstreamFailed
from provisioning.clients.oneapi.rows import ENABLED as ENABLED
from provisioning.clients.oneapi.rows import Channel as Channel
from provisioning.clients.oneapi.rows import Token as Token
from provisioning.clients.oneapi.rows import clean_models as clean_models
