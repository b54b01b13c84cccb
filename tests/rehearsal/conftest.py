"""The one standing lab that tests on the real engine share: a run of it costs some seconds."""

from collections.abc import Iterator

import pytest

from rehearsal.lab import Lab, prepare
from tests.rehearsal.process_list import process_list


class Shared:
    """The reference lab, up: one at a time for all files, made anew after a test that failed.

    Attributes:
        said: what its first `up` printed.
        commands: the command lines of all processes that there were meanwhile.
    """

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._failed = 0
        self.lab: Lab | None = None
        self.said = ""
        self.commands: set[bytes] = set()

    def standing(self, failed: int) -> Lab:
        """The lab, in a run in which so many tests have failed so far."""
        if failed != self._failed:
            self.end()
        self._failed = failed
        if self.lab is None:
            self.lab = prepare(self._folders.mktemp("rehearsal"), "dev")
            with process_list() as self.commands:
                self.said = self.lab.engine.up().output
            self.lab.outputs = self.lab.engine.outputs()
        return self.lab

    def end(self) -> None:
        if self.lab is not None:
            self.lab.end()
        self.lab = None


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    made = Shared(tmp_path_factory)
    yield made
    made.end()


@pytest.fixture(scope="module")
def rehearsed_lab(shared: Shared, request: pytest.FixtureRequest) -> Lab:
    """The reference lab, up. A test that changes it puts it right again."""
    return shared.standing(request.session.testsfailed)
