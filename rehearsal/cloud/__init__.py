"""The emulated region: one account that holds state, refuses, keeps a bill, and speaks RPC.

A module a kind of thing, with its state's rules and its wire form side by side; importing it
registers its actions. Everyone outside talks HTTP to it (`serve_region`); only the world changes
what a test may change, on the `Cloud` itself.
"""

from rehearsal.cloud import (
    described,
    ecs,
    eip,
    key_pairs,
    lease,
    market,
    on_sale,
    rpc,
    security_groups,
    tags,
    vpc,
)
from rehearsal.cloud.account import Cloud, DataCentre
from rehearsal.cloud.http import ACCESS_KEY, SECRET_KEY, Endpoint, serve_region
from rehearsal.cloud.state import Instance, Line

__all__ = [
    "ACCESS_KEY",
    "SECRET_KEY",
    "Cloud",
    "DataCentre",
    "Endpoint",
    "Instance",
    "Line",
    "described",
    "ecs",
    "eip",
    "key_pairs",
    "lease",
    "market",
    "on_sale",
    "rpc",
    "security_groups",
    "serve_region",
    "tags",
    "vpc",
]
