import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tests.sweeps.fakes import write
from zsl.errors import InputError
from zsl.sweeps.liveness import BEAT_SECONDS, OWN, PATIENCE_SECONDS, beat
from zsl.sweeps.spec import Sweep, read_sweep
from zsl.sweeps.study import DONE, STOPPED, Study

pytestmark = pytest.mark.usefixtures("in_tmp_path")
SEEDS = {"seed_everything": {"values": [0, 1, 2]}}
NOISE = {"model.augmentation.noise": {"min": 0.0, "max": 1.0}}


def grid(**changes: Any) -> Sweep:
    return read_sweep(write(**({"parameters": SEEDS} | changes)))


def search(method: str = "random", count: int = 3) -> Sweep:
    return read_sweep(write(method=method, run_cap=count, parameters=NOISE | SEEDS))


def finish(study: Study, state: TrialState = TrialState.COMPLETE) -> list[dict[str, Any]]:
    """Runs all there is to run; returns the values."""
    ran = []
    while trial := next_of(study):
        ran.append(trial.user_attrs["values"])
        value = 0.5 if state == TrialState.COMPLETE else None
        assert study.finish(trial, state, value, {"message": "the sky fell"})
    return ran


def next_of(study: Study) -> optuna.Trial | None:
    with study.lock:
        return study.next_trial()


def num_finished(study: Study) -> int:
    return len(study.trials(*DONE))


def test_two_machines_run_each_point_once() -> None:
    one, other = Study(grid(), "study.log"), Study(grid(), "study.log")
    for point in one.points:  # As if both had begun at the same moment.
        one.optuna.enqueue_trial({}, {"point": point, "seed": {}})
    running = [study.next_trial() for study in (one, other, one, other)]
    trials = [trial for trial in running if trial]
    assert [trial.user_attrs["values"]["seed_everything"] for trial in trials] == [0, 1, 2]
    for trial in trials:
        one.optuna.tell(trial.number, 0.5)
    assert len(one.trials()) == num_finished(one) == 3
    assert finish(Study(grid(), "study.log")) == []


def test_processes_that_ask_at_the_same_moment_share_a_database() -> None:
    sweep = grid(parameters={"seed_everything": {"values": list(range(8))}})
    url = f"sqlite:///{Path('study.db').resolve()}"
    studies = [Study(sweep, url), Study(sweep, url)]
    with ThreadPoolExecutor(2) as pool:
        ran = [values["seed_everything"] for own in pool.map(finish, studies) for values in own]
    assert sorted(ran) == list(range(8))


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_search_draws_seeds_and_ends(method: str) -> None:
    study = Study(search(method), f"sqlite:///{Path('study.db').resolve()}")
    ran = finish(study)
    assert len({values["model.augmentation.noise"] for values in ran}) == 3
    assert {values["seed_everything"] for values in ran} <= {0, 1, 2}
    assert [set(trial.params) for trial in study.trials()] == [{"model.augmentation.noise"}] * 3
    assert len(finish(Study(search(method, count=5), study.storage))) == 2


def test_two_machines_stay_within_the_count() -> None:
    one, other = Study(search(count=1), "study.log"), Study(search(count=1), "study.log")
    one.optuna.enqueue_trial({}, {"point": "draw 0", "seed": {}})  # As if both began at once.
    trial = one.next_trial()
    assert trial is not None
    assert other.next_trial() is None
    one.optuna.tell(trial, 0.5)
    assert [trial.number for trial in other.trials()] == [0]


def test_what_failed_is_run_again_with_the_same_values() -> None:
    study = Study(search(), "study.log")
    failed = finish(study, TrialState.FAIL)
    assert len(failed) == 3  # And not for ever.
    again = Study(search(), "study.log")
    assert finish(again) == failed
    assert num_finished(again) == 3
    assert finish(Study(search(), "study.log")) == []

    assert {values["seed_everything"] for values in failed} <= {0, 1, 2}

    study = Study(grid(name="other"), "study.log")
    assert len(finish(study, TrialState.FAIL)) == 3
    assert len(finish(Study(grid(name="other"), "study.log"))) == 3


def test_trials_of_dead_processes_are_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = grid(parameters={"seed_everything": {"values": list(range(6))}})
    study = Study(sweep, "study.log")
    running = []
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    for changes in (
        {"process": child},
        {"session": "of a process that had this number"},
        {"process": os.getppid()},
        {"process": child, "host": "elsewhere"},
        {"process": child, "space": "of a machine with the same name"},
        {},
    ):
        monkeypatch.setattr("zsl.sweeps.study.OWN", OWN | changes)
        running.append(study.next_trial())
    monkeypatch.setattr("zsl.sweeps.study.OWN", OWN)
    again = Study(sweep, "study.log")
    assert [values["seed_everything"] for values in finish(again)] == [0, 1]
    assert [trial.number for trial in again.others()] == [2, 3, 4, 5]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set."""
    now = [1000.0]
    monkeypatch.setattr("zsl.sweeps.liveness.monotonic", lambda: now[0])
    return now


def test_what_another_machine_lost_is_run_again_once(clock: list[float]) -> None:
    sweep = search(count=2)
    one, two, three = (Study(sweep, "study.log") for _ in range(3))
    lost, alive = next_of(one), next_of(one)
    assert lost is not None
    assert alive is not None
    given_up_at = clock[0] + PATIENCE_SECONDS
    again = None
    while again is None and clock[0] < 2 * given_up_at:
        clock[0] += BEAT_SECONDS / 2
        beat(alive)
        again = next_of(two)
    assert given_up_at < clock[0] <= given_up_at + BEAT_SECONDS
    assert again is not None
    assert again.params == lost.params
    assert again.user_attrs["values"] == lost.user_attrs["values"]
    assert next_of(three) is None
    # The machine was but cut off: its trial does not count, whatever came of it.
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        beat(lost)
    assert not one.finish(lost, TrialState.COMPLETE, 0.75)
    assert two.finish(again, TrialState.COMPLETE, 0.5)
    assert two.finish(again, TrialState.COMPLETE, 0.5)  # As if the answer had been lost.
    assert one.finish(alive, TrialState.COMPLETE, 0.25)
    assert [trial.value for trial in three.trials(*DONE)] == [0.25, 0.5]
    assert finish(three) == []


def test_an_outage_is_not_held_against_other_machines(clock: list[float]) -> None:
    """In it none can show that it is alive, and the first to be back has not heard of any."""
    one, other = Study(search(count=1), "study.log"), Study(search(count=1), "study.log")
    trial = next_of(one)
    assert trial is not None
    for _ in range(3):
        assert next_of(other) is None
        clock[0] += 10 * PATIENCE_SECONDS
    assert other.others() != []
    for _ in range(3):  # A machine that looks seldom finds it as well.
        assert next_of(other) is None
        clock[0] += 0.45 * PATIENCE_SECONDS
    assert next_of(other) is not None


def test_what_was_stopped_goes_on_elsewhere_but_not_what_failed() -> None:
    one, other = Study(grid(), "study.log"), Study(grid(), "study.log")
    stopped, failed, died = (next_of(one) for _ in range(3))
    assert stopped and failed and died  # noqa: PT018
    one.finish(stopped, TrialState.FAIL, attributes={"message": STOPPED})
    one.finish(failed, TrialState.FAIL, attributes={"message": "the sky fell"})
    died.set_user_attr("message", "")  # It was about to be complete.
    one.optuna.tell(died, state=TrialState.FAIL)  # Given up; and who did so died, too.
    assert [values["seed_everything"] for values in finish(other)] == [0, 2]
    assert finish(other) == []


def test_pruned_trials_are_finished() -> None:
    changes = {"early_terminate": {"type": "hyperband", "max_iter": 9, "s": 2}}
    study = Study(grid(**changes), "study.log")
    assert len(finish(study, TrialState.PRUNED)) == 3
    assert num_finished(study) == 3
    assert all(trial.state == TrialState.PRUNED for trial in study.trials())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "random", "run_cap": 3}, "with other method than tiny.yaml"),
        ({"metric": {"name": "val/seen/mAP", "goal": "maximize"}}, "with other metric"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 1}}, "with other early_terminate"),
        ({"parameters": {"seed_everything": {"values": [1, 2, 3]}}}, "with other parameters"),
        ({"parameters": SEEDS | {"a": {"values": [0]}}}, "with other parameters"),
    ],
)
def test_another_sweep_is_refused(changes: dict[str, Any], message: str) -> None:
    finish(Study(grid(), "study.log"))
    with pytest.raises(InputError, match=message):
        Study(grid(**changes), "study.log")
    with pytest.raises(InputError, match="with other arguments"):
        Study(read_sweep(write(parameters=SEEDS), ["--data.num_train=8"]), "study.log")


def test_a_refused_first_trial_does_not_bind_the_arguments() -> None:
    study = Study(grid(), "study.log")
    finish(study, TrialState.FAIL)
    changed = read_sweep(write(), ["--data.num_train=8"])
    assert len(Study(changed, "study.log").trials(TrialState.WAITING)) == len(changed.points())


def test_a_grid_may_grow_and_lose_what_was_not_run() -> None:
    study = Study(grid(), "study.log")
    trial = study.next_trial()
    assert trial is not None
    study.optuna.tell(trial, 0.5)
    changed = grid(parameters={"seed_everything": {"values": [0, 2, 7]}})
    ran = finish(Study(changed, "study.log"))
    assert [values["seed_everything"] for values in ran] == [2, 7]


def test_a_folder_of_another_study_is_refused() -> None:
    Path("runs/sweeps/tiny/trial_0").mkdir(parents=True)
    with pytest.raises(InputError, match="holds 1 trials that are not of this study"):
        Study(grid(), "study.log")


def test_storages_that_can_not_be_opened_are_refused() -> None:
    Path("notes.txt").write_text("not a study\n")
    for storage in ("notes.txt", "."):
        with pytest.raises(InputError, match=f"The storage {storage} is not a study"):
            Study(grid(), storage)
    assert Path("notes.txt").read_text() == "not a study\n"
    for url in ("nothing://here", "sqlite:////nowhere/at/all.db"):
        with pytest.raises(InputError, match=f"{url} can't be opened"):
            Study(grid(), url)
    for url, message in (
        ("postgresql://ann:se%cret@db:port/a", "not a URL; expected postgresql://USER@HOST:PORT"),
        ("postgresql+nodriver://ann:se%cret@db/a?sslpassword=cret", "ann:***@db/a can't be opened"),
        # A driver that nobody has here.
        ("mssql+pymssql://ann:se%cret@db/a", "pip install 'psycopg[binary]'"),
    ):
        with pytest.raises(InputError) as caught:
            Study(grid(), url)
        assert message in str(caught.value)
        assert "cret" not in str(caught.value)
