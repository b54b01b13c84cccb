"""Which channel serves a model: by database, or by a map that goes stale (docs/facts/oneapi.md
§2)."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections import defaultdict

from rehearsal.doubles.oneapi.rows import ENABLED, Channel
from rehearsal.doubles.oneapi.store import StoreError
from rehearsal.doubles.oneapi.tables import NotFoundError, Tables

Map = dict[str, dict[str, list[Channel]]]


class NoChannelError(Exception):
    """No channel serves the model to the group."""


class BrokenError(Exception):
    """An ability points to a channel that is gone."""


class NilMapError(Exception):
    """A channel's group is in no ability: the real one panics while it builds its map."""


class Router:
    """Chooses channels. With the memory cache, from a map built now and every `sync_seconds`.

    Raises:
        NilMapError: at construction, where the real one panics at boot.
    """

    def __init__(self, tables: Tables, memory_cache: bool, sync_seconds: int) -> None:
        self._tables = tables
        self._map: Map | None = _built(tables) if memory_cache else None
        if memory_cache:
            threading.Thread(target=self._sync, args=(sync_seconds,), daemon=True).start()

    def choose(self, group: str, model: str, any_priority: bool = False) -> Channel:
        """The channel for one call; `any_priority` for a retry after the first one failed.

        Raises:
            NoChannelError, BrokenError.
        """
        if self._map is not None:
            return _from_map(self._map, group, model, any_priority)
        try:
            channel = self._tables.channel_for(group, model, any_priority)
        except NotFoundError as error:
            raise BrokenError from error
        except StoreError as error:
            raise NoChannelError from error
        if channel is None:
            raise NoChannelError
        return channel

    def _sync(self, seconds: int) -> None:
        while True:
            time.sleep(seconds)
            try:
                self._map = _built(self._tables)
            except NilMapError:
                die_of_nil_map()
            except StoreError:
                self._map = {}


def die_of_nil_map() -> None:
    """End as a Go process ends that nobody recovers from a panic: exit code 2."""
    print("panic: assignment to entry in nil map\n\ngoroutine 1 [running]:", file=sys.stderr)
    sys.stderr.flush()
    os._exit(2)


def _built(tables: Tables) -> Map:
    groups: Map = {ability.group: defaultdict(list) for ability in tables.abilities()}
    for channel in tables.channels():
        if channel.status != ENABLED:
            continue
        for group in channel.group.split(","):
            for model in channel.models.split(","):
                if group not in groups:
                    raise NilMapError
                groups[group][model].append(channel)
    for models in groups.values():
        for channels in models.values():
            channels.sort(key=lambda channel: -(channel.priority or 0))
    return groups


def _from_map(known: Map, group: str, model: str, any_priority: bool) -> Channel:
    channels = known.get(group, {}).get(model, [])
    if not channels:
        raise NoChannelError
    highest = channels[0].priority or 0
    # The real one compares priorities only where the highest is above zero.
    end = len(channels)
    if highest > 0:
        end = sum(1 for channel in channels if (channel.priority or 0) == highest)
    if any_priority and end < len(channels):
        return random.choice(channels[end:])
    return random.choice(channels[:end])
