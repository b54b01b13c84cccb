"""The routes of the current edition, and who may use them
(docs/facts/fastgpt-current-measured.md §2, §5)."""

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.responses import Response

from rehearsal.doubles.fastgpt import (
    accounts,
    assistants,
    libraries,
    models,
    routing,
    sources,
    talk,
)
from rehearsal.doubles.fastgpt.envelope import CURRENT, Call, crash, done, named
from rehearsal.doubles.fastgpt.refusals import Invalid, check, refusal

# `!` is open to all, `*` to keys too.
_ROUTES = """
accounts /api/common/system -: GET getInitData!
accounts /api/support/user/account -: GET preLogin! tokenLogin loginout, POST loginByPassword!
models /api/core/ai/model model: GET list detail getConfigJson getDefaultConfig test
models /api/core/ai/model model: PUT updateWithJson updateDefault, DELETE delete
libraries /api/core/dataset dataset: POST create* list* searchTest*, GET detail*, PUT update*
libraries /api/core/dataset dataset: DELETE delete, POST data/v2/list*
libraries /api/core/dataset/training -: GET getDatasetTrainingQueue* hasDatasetTrainingError
libraries /api/core/dataset/training -: POST getTrainingError*, PUT updateTrainingData
sources /api/core/dataset/collection collection: POST create* create/localFile* create/text*
sources /api/core/dataset/collection collection: POST create/link* listV2*, GET detail*
sources /api/core/dataset/collection collection: PUT update*, DELETE delete*
assistants /api/core/app app: POST create* list* version/publish, GET detail version/detail
assistants /api/core/app app: PUT update, DELETE del
assistants /api/support/outLink link: POST create, GET list, PUT update, DELETE delete
assistants /api/support/openapi key: POST create copy, GET list, PUT update, DELETE delete
talk /api/core/chat -: GET outLink/init!
talk /api/v1/chat -: POST completions!
talk /api/v2/chat -: POST completions!
"""


def answers() -> dict[str, Callable[[Call], Response]]:
    """Method and path to what answers there."""
    modules = (accounts, assistants, libraries, models, sources, talk)
    return {
        place: partial(_answered, place, mark, handler)
        for place, mark, handler in routing.routes(_ROUTES, *modules)
    }


def _answered(place: str, mark: str, handler: Callable[[Call], Any], call: Call) -> Response:
    try:
        libraries.purge(call)
        given = call.query if place.startswith("GET") else call.body
        if issues := check(given, CURRENT["needed"].get(place, {})):
            raise Invalid(issues)
        # Where both are sent, the key counts on the routes that take one.
        is_key = mark == "*" and accounts.key_of(call) is not None
        if mark != "!" and not is_key and not accounts.has_session(call):
            raise named("unAuthorization")
        result = handler(call)
        return result if isinstance(result, Response) else done(result)
    except Exception as error:
        return refusal(crash(error))
