"""The plan's tables, asked with a lab's settings."""

from __future__ import annotations

from provisioning.images import Images, images
from provisioning.regions import Region, region
from provisioning.settings import Settings
from provisioning.versions import XinferenceRelease, xinference_release


def region_of(settings: Settings) -> Region:
    """Where this lab's packages, images and models come from."""
    return region(settings.region, settings.mirrors)


def images_of(settings: Settings) -> Images:
    """The images this lab runs."""
    chosen = region_of(settings)
    return images(chosen, settings.images, settings.xinference_version, bool(settings.gpus))


def release_of(settings: Settings) -> XinferenceRelease:
    """What this lab's Xinference can do and needs."""
    return xinference_release(settings.xinference_version)
