"""How trials are run, with a tiny script in the place of `zsl.fit`."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tests.fakes.runs import read_csv
from tests.sweeps.fakes import run, write
from zsl.errors import InputError
from zsl.sweeps import runner
from zsl.sweeps.results import write_results
from zsl.sweeps.runner import Runner, error_of, read_scores
from zsl.sweeps.spec import read_sweep
from zsl.sweeps.study import Study

FOLDER = Path("runs/sweeps/tiny")
FAKE = [sys.executable, str(Path(__file__).with_name("fake_fit.py"))]
KILLED_LATER = f"""
import sys
from zsl.sweeps import runner
from zsl.sweeps.spec import read_sweep
from zsl.sweeps.study import Study

runner.FIT = {FAKE}
runner.Runner(Study(read_sweep("tiny.yaml"), "study.log"), 1, []).run()
"""


@pytest.fixture(autouse=True)
def _fake_fit(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "FIT", FAKE)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(runner, "WAIT_SECONDS", 0.05)


def study_of(*todo: str) -> Study:
    """A grid whose trials do as they are told, in the order given."""
    return Study(read_sweep(write(parameters={"do": {"values": list(todo)}})), "study.log")


def states(study: Study) -> list[TrialState]:
    return [trial.state for trial in study.trials()]


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
        # Nobody may have asked yet how it ended.
        return "zombie" not in Path(f"/proc/{process}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def wait_for(path: Path) -> str:
    """Waits for a file; returns what is in it."""
    for _ in range(400):
        if path.is_file() and (text := path.read_text()):
            return text
        time.sleep(0.05)
    raise TimeoutError(path)


def test_trials_are_read_and_spread_over_gpus() -> None:
    study = study_of("a", "b", "c", "d")
    assert Runner(study, 2, ["4", "GPU-7"]).run() == []
    assert states(study) == [TrialState.COMPLETE] * 4
    for trial in study.trials():
        assert trial.value == 0.5  # The best validation, whose checkpoint is tested.
        assert trial.intermediate_values == {1: 0.25, 2: 0.5, 3: 0.125}
        assert trial.user_attrs["results"] == {"test/zsl/mAP": 0.3, "test/seen/mAP": 1e-5}
        assert trial.user_attrs["config"] == {"seed_everything": 3}
    environments = [json.loads(path.read_text()) for path in FOLDER.glob("*/environment.json")]
    assert {one["CUDA_VISIBLE_DEVICES"] for one in environments} == {"4", "GPU-7"}
    threads = str(max(1, (os.cpu_count() or 1) // 2))
    assert {one["OMP_NUM_THREADS"] for one in environments} == {threads}


def test_crashed_and_killed_trials_leave_the_others_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(parameters={"seed_everything": {"values": [0, 1, 2]}})
    Path("wrong.json").write_text(json.dumps({"1": "crash", "2": "killed"}))
    assert run("--processes=2") == 1
    error = capsys.readouterr().err
    assert "2 failed; the same command runs them again:" in error
    assert f"trial 1: RuntimeError: the sky fell ({FOLDER}/trial_1/log.txt)" in error
    assert "trial 2: its process was killed by signal 9" in error
    Path("wrong.json").unlink()
    assert run("--processes=2") == 0
    assert "Sweep tiny: 3 complete, 2 failed trials." in capsys.readouterr().out
    rows = read_csv(FOLDER / "trials.csv")
    assert [row["state"] for row in rows] == ["complete"] + ["failed"] * 2 + ["complete"] * 2
    (point,) = read_csv(FOLDER / "points.csv")
    assert point["n"] == "3"


@pytest.mark.parametrize(
    ("do", "message"),
    [
        ("refuse", "Trial 0 was refused: head.dropout is 1.5; expected 0 to below 1. Its log is"),
        ("nothing", "Trial 0 was refused: Nothing was validated and tested"),
        ("other", "logs no val/zsl/mAP in validation; expected one like val/seen/mAP"),
    ],
)
def test_a_refused_trial_ends_the_sweep(do: str, message: str) -> None:
    study = study_of(do, "slow", "a")
    with pytest.raises(InputError, match=message):
        Runner(study, 2, []).run()
    assert states(study) == [TrialState.FAIL, TrialState.FAIL, TrialState.WAITING]
    assert study.trials()[1].user_attrs["message"] == "stopped with the sweep"


def test_a_pruned_trial_is_ended_and_not_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda trial: trial.number == 1)
    study = study_of("a", "slow")
    assert Runner(study, 1, []).run() == []
    assert states(study) == [TrialState.COMPLETE, TrialState.PRUNED]
    assert study.trials()[1].intermediate_values == {1: 0.25}
    assert "1 complete, 1 pruned trials" in write_results(study)
    assert read_csv(FOLDER / "trials.csv")[1]["test/zsl/mAP"] == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_the_trials_and_they_are_run_again(number: signal.Signals) -> None:
    if number == signal.SIGINT:
        # A shell lets what it starts in the background ignore Ctrl-C.
        signal.signal(number, signal.default_int_handler)
    Path("wrong.json").write_text('{"1": "wait"}')
    sweep = read_sweep(write(parameters={"seed_everything": {"values": [0, 1, 2]}}))
    study = Study(sweep, "study.log")

    def stop() -> None:
        wait_for(FOLDER / "trial_1" / "process")
        os.kill(os.getpid(), number)

    threading.Thread(target=stop).start()
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        Runner(study, 1, []).run()
    assert not is_alive(int((FOLDER / "trial_1" / "process").read_text()))
    assert states(study) == [TrialState.COMPLETE, TrialState.FAIL, TrialState.WAITING]
    Path("wrong.json").unlink()
    assert Runner(Study(sweep, "study.log"), 1, []).run() == []
    assert states(study).count(TrialState.COMPLETE) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a trial runs to its end")
def test_trials_die_with_a_killed_sweep_and_are_run_again() -> None:
    Path("wrong.json").write_text('{"1": "wait"}')
    write(parameters={"seed_everything": {"values": [0, 1]}})
    root = str(Path(__file__).parents[2])
    sweep = subprocess.Popen(
        [sys.executable, "-c", KILLED_LATER], env=os.environ | {"PYTHONPATH": root}
    )
    process = int(wait_for(FOLDER / "trial_1" / "process"))
    sweep.kill()
    sweep.wait()
    for _ in range(100):
        if not is_alive(process):
            break
        time.sleep(0.05)
    assert not is_alive(process)
    Path("wrong.json").unlink()
    study = Study(read_sweep("tiny.yaml"), "study.log")
    assert Runner(study, 1, []).run() == []
    assert states(study) == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("epoch,val/zs", []),
        ("epoch,train/loss\n0,3.5\n", []),
        ("epoch,train/loss,val/zsl/mAP\n0,3.5,\n0,,0.25\n1,,0.1", [0.25]),
        ("epoch,val/zsl/mAP\r\n0,nan\r\n1,0.125\r\n", [0.125]),
    ],
)
def test_scores_are_read_while_they_are_written(text: str, expected: list[float]) -> None:
    assert read_scores(Path(), "val/zsl/mAP") == []
    Path("metrics.csv").write_text(text, newline="")
    assert read_scores(Path(), "val/zsl/mAP") == expected


def test_a_metric_with_a_typing_error_is_refused() -> None:
    Path("metrics.csv").write_text("epoch,val/seen/mAP,val/zsl/mAP\n0,0.5,0.25\n")
    with pytest.raises(InputError, match=r"logs no val/zsl/map in.* Did you mean 'val/zsl/mAP'"):
        read_scores(Path(), "val/zsl/map")


@pytest.mark.parametrize(
    ("log", "code", "expected"),
    [
        ("Traceback (most recent call last):\n  a\n    b\nOSError: c\nwandb: d\n", 1, "OSError: c"),
        ("error: a is 1; expected 0.\nwandb: d\n", 2, "a is 1; expected 0."),
        ("all is well\n", 3, "its process ended with exit code 3"),
        ("error: a\n", -15, "its process was killed by signal 15"),
    ],
)
def test_the_error_of_a_run(log: str, code: int, expected: str) -> None:
    Path("log.txt").write_text(log)
    assert error_of(Path(), code) == expected


def test_visible_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for named, expected in {
        "": ["0", "1"],
        "3,5": ["3", "5"],
        "GPU-a,GPU-b": ["GPU-a", "GPU-b"],
    }.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert runner.visible_gpus() == expected
