"""Who may use a route of the current edition (docs/facts/fastgpt-current-measured.md §2, §5)."""

from starlette.responses import Response

from rehearsal.doubles.fastgpt import accounts, libraries
from rehearsal.doubles.fastgpt.envelope import CURRENT, Call, crash, done, named
from rehearsal.doubles.fastgpt.refusals import Invalid, check, refusal
from rehearsal.doubles.fastgpt.routing import Handler


def answered(place: str, mark: str, handler: Handler, call: Call) -> Response:
    """What a handler answers to who may ask it, in the words of this edition."""
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
