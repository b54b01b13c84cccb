"""Whether strangers may be let in: behind the visitors' door only, where the edition has one."""

from collections.abc import Iterator

from provisioning.ports import WITH_VISITORS_DOOR
from provisioning.problems import Problem
from provisioning.settings import Settings


def visitor_problems(settings: Settings) -> Iterator[Problem]:
    """Visitors of an edition with a door, and no domain for it to stand at."""
    if settings.domain or settings.edition not in WITH_VISITORS_DOOR:
        return
    wrong = "it would let them reach all of FastGPT, its login too, in plain HTTP"
    right = "set domain: to it belongs a door by TLS that lets share links through alone"
    asked = {"publicChat": settings.public_chat, "visitorCidrs": bool(settings.visitor_cidrs)}
    yield from (Problem(path, wrong, right) for path, is_set in asked.items() if is_set)
