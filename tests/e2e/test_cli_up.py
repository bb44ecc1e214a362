"""`sluice up` from start to stop, and the commands by which an operator looks and intervenes: `top` and `degrade`."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sluice.cli.mesh import START_ORDER
from tests.e2e.local_mesh import configuration, configuration_of, up
from tests.e2e.sluice_command import Running, run, running

NOBODY = "127.0.0.1:1"


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return configuration(tmp_path_factory.mktemp("mesh"))


@pytest.fixture(scope="module")
def mesh(env: dict[str, str]) -> Iterator[Running]:
    with up(Path(env["TMPDIR"]), env) as running_mesh:
        yield running_mesh


def test_up_says_where_the_mesh_is(mesh: Running, env: dict[str, str]) -> None:
    settings = yaml.safe_load(Path(env["SLUICE_CONFIG"]).read_text())
    assert f'sluice infer "where is my parcel?" --router {settings["router"]["listen"]}\n' in mesh.errors
    assert f"sluice top --governor {settings['governor']['listen']}\n" in mesh.errors
    assert [mesh.errors.count(f"{name:<11} ready\n") for name in START_ORDER] == [1, 1, 1, 1]
    assert len(mesh.services()) == 4


def test_top_shows_members_tiers_queues_and_the_level(mesh: Running, env: dict[str, str]) -> None:
    # Members acknowledge the first directive within moments of their start.
    while (ended := run("top", "--once", env=env)).stdout.count("  yes") < 3:
        assert (ended.returncode, ended.stderr) == (0, "")
    (head,), signals, (names, *rows) = (part.splitlines() for part in re.split(r"\n *\n", ended.stdout.rstrip("\n")))
    assert head.startswith("level 0 full service ")
    assert head.rstrip().endswith("3 members")
    assert {"refused", "queue", "memory", "level"} <= {line.split()[0] for line in signals}
    assert " ".join(names.split()) == "member serves state busy memory hot cold in flight req/s obeys"
    shown = "\n".join(rows)
    for words in ("full: echo fp32 cpu", "light: echo fp32 cpu", "quantized: echo fp32 cpu"):
        assert words in shown
    (router,) = [row for row in rows if row.startswith("router@")]
    assert router.split()[1:5] == ["up", "0", "0", "0"]
    assert sum(row.split()[-1:] == ["yes"] for row in rows) == 3


def test_a_level_is_put_in_force_shown_answered_and_cleared(mesh: Running, env: dict[str, str]) -> None:
    put = run("degrade", "--level", "offload", "--level", "admit", "--reason", "rehearsal", env=env)
    assert put.returncode == 0, put.stderr
    assert re.fullmatch(r"offload, admit  \(revision \d+: operator: rehearsal\)\n", put.stdout)
    shown = run("top", "--once", env=env).stdout
    assert shown.startswith("level 1 offload, 3 admit   operator: rehearsal ")
    answer = json.loads(run("infer", "hi", "--json", env=env).stdout)
    assert answer["levels"] == ["offload", "admit"]
    cleared = run("degrade", "--clear", env=env)
    assert cleared.stdout.startswith("full service  (revision ")
    assert run("top", "--once", env=env).stdout.startswith("level 0 full service ")


def test_a_precision_is_ordered_shown_and_obeyed_by_what_serves(mesh: Running, env: dict[str, str]) -> None:
    put = run("degrade", "--precision", "fp8", "--reason", "rehearsal", env=env)
    assert re.fullmatch(r"lighten to fp8  \(revision \d+: operator: rehearsal\)\n", put.stdout)
    while "full: echo fp8 cpu" not in (shown := run("top", "--once", env=env).stdout):
        assert mesh.process.poll() is None
    assert shown.startswith("level 2 lighten to fp8   operator: rehearsal ")
    assert json.loads(run("infer", "hi", "--minimum-tier", "full", "--json", env=env).stdout)["precision"] == "fp8"
    history = run("levels", "--last", "1", "--json", env=env)
    change = json.loads(history.stdout)
    assert (change["after"], change["precision"], change["lighten_share"]) == (["lighten"], "fp8", 0.0)
    run("degrade", "--clear", env=env)
    while "full: echo fp32 cpu" not in run("top", "--once", env=env).stdout:
        assert mesh.process.poll() is None


def test_a_level_ends_by_itself_after_its_seconds(mesh: Running, env: dict[str, str]) -> None:
    put = run("degrade", "--level", "lighten", "--seconds", "0.2", env=env)
    assert put.stdout.startswith("lighten  (revision ")
    while not run("top", "--once", env=env).stdout.startswith("level 0 full service   the operator's override expired"):
        assert mesh.process.poll() is None


@pytest.mark.parametrize("command", [["top", "--once"], ["degrade", "--clear"]], ids=["top", "degrade"])
def test_an_unreachable_governor_is_told_with_a_hint(command: list[str]) -> None:
    ended = run(*command, "--governor", NOBODY)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert NOBODY in ended.stderr
    assert ended.stderr.endswith("sluice up\n")
    assert "Traceback" not in ended.stderr


def test_a_level_that_lasts_too_long_is_refused_by_the_governor(mesh: Running, env: dict[str, str]) -> None:
    ended = run("degrade", "--level", "offload", "--seconds", "1e6", env=env)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "INVALID_ARGUMENT: an override lasts more than nothing and at most a day\n"


def test_a_second_mesh_on_the_same_ports_says_so_in_one_line(
    mesh: Running, env: dict[str, str], tmp_path: Path
) -> None:
    ended = run("up", "--logs", str(tmp_path), env=env)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert ended.stderr.startswith("in use by another program: 127.0.0.1:")
    for name in START_ORDER:
        assert f"({name})" in ended.stderr
    assert "is a mesh up already?" in ended.stderr
    assert len(mesh.services()) == 4


def test_ctrl_c_stops_all_services_in_order(tmp_path: Path) -> None:
    with running("up", "--logs", str(tmp_path / "logs"), env=configuration(tmp_path)) as up:
        up.wait_for("Ctrl-C stops it.")
        services = up.services()
        assert len(services) == 4
        up.signal(signal.SIGINT)
        assert up.ended() == 0
        assert not any(service.is_running() for service in services)
        stopped = re.findall(r"^(\w+) +stopped$", up.errors, re.M)
        assert stopped == list(reversed(START_ORDER))
        assert list(tmp_path.glob("sluice-*")) == []
    for name in START_ORDER:
        assert '"stopped"' in (tmp_path / "logs" / f"{name}.log").read_text().splitlines()[-1]


def test_ctrl_c_while_a_service_waits_to_be_started_again_stops_the_mesh(tmp_path: Path) -> None:
    with running("up", "--logs", str(tmp_path / "logs"), env=configuration(tmp_path)) as up:
        up.wait_for("Ctrl-C stops it.")
        (worker,) = [one for one in up.services() if one.cmdline()[-1] == "services.cpu_worker"]
        worker.kill()
        up.wait_for("cpu_worker  was killed by SIGKILL; it is started again in 0.5 s")
        up.signal(signal.SIGINT)
        assert up.ended() == 0
        assert up.errors.count("cpu_worker  starting") == 1
        assert up.services() == []


def test_a_checkpoint_that_is_not_there_is_named_and_nothing_stays(tmp_path: Path) -> None:
    models = [{"model": "mine", "tier": "light", "checkpoint": "nowhere"}]
    env = configuration(tmp_path, cpu_worker={"models": models})
    with running("up", "--logs", str(tmp_path / "logs"), env=env) as up:
        assert up.ended() == 1
        assert "cpu_worker ended with status 2:\n" in up.errors
        assert "sluice cpu_worker: models.0.checkpoint: there is no checkpoint directory" in up.errors
        assert "Traceback" not in up.errors
        assert up.services() == []


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("router: [1]", "sluice up: router: must be a mapping of keys\n"), ("- 1", "must be a mapping of sections")],
)
def test_a_file_that_is_no_configuration_is_one_line(tmp_path: Path, content: str, complaint: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    ended = run("up", "--config", str(file), "--logs", str(tmp_path / "logs"))
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert complaint in ended.stderr


def test_a_router_that_does_not_answer_is_given_up_in_time(tmp_path: Path) -> None:
    with running("up", "--logs", str(tmp_path / "logs"), env=configuration(tmp_path)) as up:
        up.wait_for("Ctrl-C stops it.")
        (router,) = [one for one in up.services() if one.cmdline()[-1] == "services.router"]
        router.suspend()
        ended = run("infer", "hi", "--timeout", "0.5", env=configuration_of(tmp_path))
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr.startswith("rejected-ttl-expired: ")
        # A service that was stopped with its mesh is woken up to end.
        up.signal(signal.SIGINT)
        assert up.ended() == 0
        assert up.services() == []
