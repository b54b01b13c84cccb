"""The host scripts run for real, on a stage: images pulled, the GPU proved."""

from pathlib import Path

import pytest

from tests.unit.host_stage import SMI, Server


@pytest.fixture
def server(tmp_path: Path) -> Server:
    stage = Server(tmp_path)
    stage.fake("sleep", "exit 0")
    return stage


# --- pull


def _docker_pull(server: Server, *lines: str) -> None:
    """Each pull ends with the next line; an empty one succeeds."""
    answers = "\n".join(
        f"{turn}) {f'echo {line!r} >&2; exit 1' if line else 'exit 0'} ;;"
        for turn, line in enumerate(lines, start=1)
    )
    server.fake(
        "docker",
        f"""[ "$1" = pull ] || exit 1
        case "$(grep -c '^docker pull' {server.calls_file})" in
        {answers}
        esac""",
    )


@pytest.mark.parametrize(
    ("answers", "pulls", "said"),
    [
        (["unexpected EOF", "net/http: TLS handshake timeout", ""], 3, "attempt 3 of 5"),
        (["error: connection reset by peer"] * 4 + [""], 5, "attempt 5 of 5"),
        (["502 Bad Gateway", ""], 2, "attempt 2"),
    ],
)
def test_an_interrupted_pull_is_taken_up_again(
    server: Server, answers: list[str], pulls: int, said: str
) -> None:
    _docker_pull(server, *answers)
    assert said in server.passes("pull", "a/b:1")
    assert len(server.calls("docker pull")) == pulls


@pytest.mark.parametrize(
    ("answer", "pulls", "said"),
    [
        ("manifest for a/b:1 not found: manifest unknown", 1, "name and tag in the setting images"),
        ("pull access denied for a/b", 1, "cannot be had"),
        ("lookup r.example: no such host", 1, "does not resolve"),
        ("write /var/lib: no space left on device", 1, "larger diskSizeGiB"),
        ("something nobody has seen", 1, "something nobody has seen"),
        ("unexpected EOF", 5, "did not come in 5 attempts: unexpected EOF"),
    ],
)
def test_what_will_not_come_is_not_tried_again(
    server: Server, answer: str, pulls: int, said: str
) -> None:
    _docker_pull(server, *[answer] * 5)
    assert said in server.fails("pull", "a/b:1")
    assert len(server.calls("docker pull")) == pulls


# Seen on Docker 20.10 with a dead mirror and one that has no such tag: the Hub is asked in the end.
FELL_THROUGH = (
    'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host'
)


def _mirrors(server: Server, answers: dict[str, str]) -> None:
    """Docker with these mirrors; what each of them says of any manifest, "" where it has it."""
    listed = ",".join(f'"https://{host}/"' for host in answers)
    cases = "\n".join(
        f"'manifest inspect {host}/'*) {f'echo {said!r} >&2; exit 1' if said else 'exit 0'} ;;"
        for host, said in answers.items()
    )
    server.fake(
        "docker",
        f"""case "$*" in
        info*) echo '[{listed}]' ;;
        {cases}
        pull*) echo '{FELL_THROUGH}' >&2; exit 1 ;;
        *) exit 1 ;;
        esac""",
    )


DEAD = "failed to configure transport: connect: connection refused"
UNKNOWN_TAG = "no such manifest: m/library/mysql:1.2.3"


@pytest.mark.parametrize(
    ("image", "mirrors", "said"),
    [
        ("mysql:1.2.3", {"a.example": DEAD, "b.example": UNKNOWN_TAG}, "no registry mirror knows"),
        ("a/b:1.2.3", {"b.example": "manifest unknown"}, "name and tag in the setting images"),
        # A mirror has it, or none answered: then it is the way that is wrong.
        ("mysql:1.2.3", {"a.example": UNKNOWN_TAG, "b.example": ""}, "name does not resolve"),
        ("mysql:1.2.3", {"a.example": DEAD}, "name does not resolve"),
        ("mysql:1.2.3", {}, "name does not resolve"),
        # Mirrors stand for Docker Hub only.
        ("r.example/a/b:1", {"a.example": UNKNOWN_TAG}, "name does not resolve"),
    ],
)
def test_a_wrong_tag_is_called_that_whichever_mirror_answered(
    server: Server, image: str, mirrors: dict[str, str], said: str
) -> None:
    _mirrors(server, mirrors)
    assert said in server.fails("pull", image)
    assert len(server.calls("docker pull")) == 1


def test_a_mirror_is_asked_by_the_hub_s_full_name(server: Server) -> None:
    _mirrors(server, {"m.example": UNKNOWN_TAG})
    server.run("pull", "mysql:1.2.3")
    server.run("pull", "a/b:1")
    assert server.calls("docker manifest") == [
        "docker manifest inspect m.example/library/mysql:1.2.3",
        "docker manifest inspect m.example/a/b:1",
    ]


def test_an_image_that_is_there_is_not_pulled(server: Server) -> None:
    server.fake("docker", "exit 0")
    server.passes("pull", "a/b:1")
    assert server.calls("docker") == ["docker image inspect a/b:1"]


# --- prove


def test_the_proof_is_a_container_that_sees_the_gpu(server: Server) -> None:
    server.fake("nvidia-smi", SMI.format(version="580.126.09"))
    server.fake("docker", 'case "$1" in version) echo 29.8.0 ;; esac')
    server.passes("prove", "575", "pg:1")
    assert server.calls("docker run") == [
        "docker run --rm --name ai-lab-proof --gpus all pg:1 nvidia-smi"
    ]


@pytest.mark.parametrize(
    ("version", "run", "said"),
    [
        ("550.1", "exit 0", "575 or later is needed"),
        ("580.1", "echo 'could not select device driver' >&2; exit 125", "could not select device"),
        ("580.1", "exit 3", "nvidia-smi said nothing and ended with 3"),
    ],
)
def test_a_gpu_that_cannot_be_used_is_an_error(
    server: Server, version: str, run: str, said: str
) -> None:
    server.fake("nvidia-smi", SMI.format(version=version))
    server.fake("docker", f'case "$1" in version) echo 29.8.0 ;; run) {run} ;; esac')
    assert said in server.fails("prove", "575", "pg:1")


@pytest.mark.parametrize(("said", "last"), [("", "nothing"), ("echo pulling", "pulling")])
def test_a_proof_that_takes_too_long_says_what_it_waited_for(
    server: Server, said: str, last: str
) -> None:
    """At the limit `timeout` ends the command, and it is the only one that says so."""
    server.fake("nvidia-smi", SMI.format(version="580.1"))
    server.fake("docker", f'case "$1" in version) echo 29.8.0 ;; run) {said} ;; esac')
    server.fake("timeout", 'shift; "$@"; exit 124')
    told = server.fails("prove", "575", "pg:1")
    limit = server.calls("timeout")[0].split()[1]
    assert f"waited {limit} s for a container to see the GPU; last seen: {last};" in told
    assert "docker ps -a" in told
    # Nothing is left running.
    assert server.calls("docker rm")[-1] == "docker rm -f ai-lab-proof"


def test_a_server_without_gpu_proves_docker_only(server: Server) -> None:
    server.fake("docker", "echo 29.8.0")
    server.passes("prove", "none", "pg:1")
    assert server.calls("docker run") == []
