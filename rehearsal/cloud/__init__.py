"""The emulated region: one account that holds state, refuses, keeps a bill, and speaks RPC.

A module a kind of thing, with its rules; importing it registers its actions. Everyone outside
talks HTTP to it (`serve_region`); only the world changes what a test may change, on the `Cloud`
itself.
"""

from rehearsal.cloud import described, ecs, eip, key_pairs, orders, security_groups, vpc  # noqa: F401
from rehearsal.cloud.account import Cloud
from rehearsal.cloud.bill import Line
from rehearsal.cloud.http import ACCESS_KEY, SECRET_KEY, Endpoint, serve_region
from rehearsal.cloud.state import Instance

__all__ = ["ACCESS_KEY", "SECRET_KEY", "Cloud", "Endpoint", "Instance", "Line", "serve_region"]
