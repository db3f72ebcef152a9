"""Sweeps of several machines that share a database."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tests.sweeps.fakes import write
from tests.sweeps.postgresql import Server, postgresql
from tests.sweeps.test_runner import FAKE, is_alive, wait_for
from zsl.sweeps import command, liveness, runner
from zsl.sweeps import study as studies
from zsl.sweeps.runner import Runner
from zsl.sweeps.spec import read_sweep
from zsl.sweeps.study import Study

FOLDER = Path("runs/sweeps/tiny")
MACHINE = f"""
import sys
from zsl.sweeps import liveness, runner
from zsl.sweeps.spec import read_sweep
from zsl.sweeps.study import Study

runner.FIT = {FAKE}
runner.POLL_SECONDS = runner.WAIT_SECONDS = 0.1
liveness.BEAT_SECONDS = 0.5
liveness.PATIENCE_SECONDS = 4.0
liveness.OWN["host"] = sys.argv[1]
assert runner.Runner(Study(read_sweep("tiny.yaml"), sys.argv[2]), 1, []).run() == []
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgresql() as running:
        yield running


def begin(host: str, folder: Path, url: str) -> subprocess.Popen[str]:
    """Starts the command of a machine, whose trials wait until `wrong.json` is away."""
    folder.mkdir(exist_ok=True)
    (folder / "wrong.json").write_text('{"0": "wait", "1": "wait"}')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write(parameters={"seed_everything": {"values": [0, 1, 2, 3]}})
    return subprocess.Popen(
        [sys.executable, "-c", MACHINE, host, url],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def running_fits(folder: Path) -> list[int]:
    """The processes of two waiting trials."""
    for _ in range(600):
        found = [path.read_text() for path in folder.glob("*/runs/sweeps/tiny/*/process")]
        if len(found) == 2 and all(found):
            return [int(process) for process in found]
        time.sleep(0.05)
    raise TimeoutError(found)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a trial survives its sweep")
@pytest.mark.parametrize("folders", [("one", "two"), ("shared", "shared")])
def test_a_killed_machine_loses_no_trial(
    folders: tuple[str, str], server: Server, tmp_path: Path
) -> None:
    """Two machines begin at the same moment, in an empty database; one is killed."""
    url = server.create_database("-".join(folders))
    one, two = begin("one", tmp_path / folders[0], url), begin("two", tmp_path / folders[1], url)
    try:
        fits = running_fits(tmp_path)
        os.killpg(one.pid, signal.SIGKILL)
        _, error = one.communicate()
        for path in tmp_path.glob("*/wrong.json"):
            path.unlink()
        _, more = two.communicate(timeout=60)
    finally:
        for machine in (one, two):
            machine.kill()
    assert two.returncode == 0, more
    assert not any(map(is_alive, fits))

    trials = optuna.load_study(study_name="tiny", storage=server.driver_url(url)).trials
    ran = [trial for trial in trials if "host" in trial.user_attrs]
    complete = [trial for trial in ran if trial.state == TrialState.COMPLETE]
    (lost,) = (trial for trial in ran if trial.state != TrialState.COMPLETE)
    assert lost.user_attrs["host"] == "one"
    assert lost.state == TrialState.FAIL
    assert sorted(one.user_attrs["values"]["seed_everything"] for one in complete) == [0, 1, 2, 3]
    (again,) = (one for one in complete if one.user_attrs["point"] == lost.user_attrs["point"])
    assert again.number > lost.number
    assert again.user_attrs["host"] == "two"
    assert len([*tmp_path.glob("*/runs/sweeps/tiny/*/results.json")]) == 4

    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"sesame" in text for text in [*written, f"{error}{more}".encode()])


def test_a_trial_that_ends_while_the_database_is_away_counts(
    server: Server,
    in_tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(runner, "FIT", FAKE)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(runner, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(liveness, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(studies, "RETRY_SECONDS", 0.1)
    Path("wrong.json").write_text('{"0": "wait"}')
    sweep = read_sweep(write(parameters={"seed_everything": {"values": [0, 1]}}))
    study = Study(sweep, server.create_database("outage"))

    def interrupt() -> None:
        wait_for(FOLDER / "trial_0" / "process")
        server.stop()
        Path("wrong.json").unlink()
        wait_for(FOLDER / "trial_0" / "results.json")
        time.sleep(0.5)
        server.start()

    outage = threading.Thread(target=interrupt)
    outage.start()
    assert Runner(study, 1, []).run() == []
    outage.join()
    assert [trial.state for trial in study.trials()] == [TrialState.COMPLETE] * 2
    error = capsys.readouterr().err
    assert error.count("can't be reached, trying again: ") == 1
    assert "sesame" not in error


@pytest.mark.usefixtures("in_tmp_path")
def test_a_database_that_can_not_be_opened_is_one_sentence(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "check_arguments", lambda sweep: None)
    for url, message in (
        (server.url(password="let%20me%20in"), "password authentication failed for user"),
        (server.url("nothing"), 'database "nothing" does not exist'),
        (server.url().replace(str(server.port), "1"), "Connection refused"),
    ):
        assert command.main([write(), "--storage", url]) == 2
        (error,) = capsys.readouterr().err.splitlines()
        assert error.startswith("error: The storage postgresql://ann:***@127.0.0.1:")
        assert message in error
        assert "sesame" not in error
        assert "let" not in error
