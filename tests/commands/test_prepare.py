"""`zsl.prepare` as users run it, on miniature copies."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.fakes.nuswide import CONCEPTS, NAMES, FakeNUSWide
from tests.fakes.runs import QUICK, TINY_MODEL, TINY_SHAPES
from tests.fakes.threads import run_command
from tests.tasks.test_callbacks import Interrupt, interrupt, trained
from zsl.commands.fit import main as fit
from zsl.commands.fit_parser import parse_config
from zsl.commands.prepare import main as prepare
from zsl.data import ImageConfig, NUSWideDataModule, Split
from zsl.data.nuswide import check_images
from zsl.errors import InputError
from zsl.files.images import check_image


def row(text: str, first: str) -> list[str]:
    """The cells of the line that begins so."""
    (line,) = (line for line in text.splitlines() if line.startswith(first))
    return line.removeprefix(first).split()


def test_a_copy_is_checked_and_reported(
    fake_nuswide: FakeNUSWide, capsys: pytest.CaptureFixture[str]
) -> None:
    flickr = fake_nuswide.root / "Flickr"
    (flickr / fake_nuswide.images[0]).unlink()
    cut = flickr / fake_nuswide.images[1]
    cut.write_bytes(cut.read_bytes()[:300])
    Image.new("RGB", (40, 30), "white").save(
        flickr / fake_nuswide.images[30]
    )  # As a placeholder is.
    for number in (31, 32, 33, 34, 35):  # The same photograph in place of five.
        (flickr / fake_nuswide.images[number]).write_bytes(
            (flickr / fake_nuswide.images[2]).read_bytes()
        )
    (flickr / "zoo/9999_9999999.jpg").write_bytes((flickr / fake_nuswide.images[3]).read_bytes())
    assert prepare(["nuswide", f"--root={fake_nuswide.root}"]) == 0
    text = capsys.readouterr().out
    assert "Groundtruth/TrainTestLabels/Labels_*_Test.txt   4 of 4" in text
    assert row(text, "listed") == ["24", "16"]
    assert row(text, "present") == ["22", "16"]
    assert row(text, "missing ") == ["1", "0"]
    assert row(text, "unreadable") == ["1", "0"]
    assert row(text, "suspicious") == ["1", "6"]
    assert "2 listed images are missing or unreadable" in text
    assert "1 image files are in no list" in text
    assert "24 training images instead of NUS-WIDE's 161,789" in text
    assert text.splitlines()[-1].endswith(
        f"zsl.fit --config nuswide.yaml --data.root {fake_nuswide.root} --data.missing skip"
    )
    prepared = fake_nuswide.root / "zsl"
    (lost,) = prepared.glob("missing-*.txt")
    assert lost.read_text().splitlines() == [
        f"{fake_nuswide.images[0]}\tmissing",
        f"{fake_nuswide.images[1]}\tunreadable",
    ]
    suspicious = (prepared / "suspicious.txt").read_text().splitlines()
    assert suspicious == sorted(
        fake_nuswide.images[number] for number in (2, 30, 31, 32, 33, 34, 35)
    )

    # Every number of the tables, counted again.
    counts = {
        line.split(",")[0]: line.split(",")[1:]
        for line in (prepared / "classes.csv").read_text().splitlines()[1:]
    }
    assert list(counts) == NAMES
    for name, (role, train, test) in counts.items():
        assert role == ("unseen" if name in CONCEPTS else "seen")
        assert int(train) == fake_nuswide.targets[name][~fake_nuswide.is_test].sum()
        assert int(test) == fake_nuswide.targets[name][fake_nuswide.is_test].sum()
    unseen = np.array([fake_nuswide.targets[name][fake_nuswide.is_test] for name in CONCEPTS])
    assert row(text, "4 unseen, test") == [
        str(unseen.sum()),
        str(unseen.any(axis=0).sum()),
        str((unseen.sum(axis=1) == 0).sum()),
        "0.0%",
    ]

    # What was found is what fit uses, and stays found while the files stay the same.
    data = NUSWideDataModule(str(fake_nuswide.root), val_fraction=0.1)
    assert data.omitted(Split.TRAIN) + data.omitted(Split.VAL) == 2
    made = data.index.path.stat().st_mtime_ns
    assert prepare(["nuswide", f"--root={fake_nuswide.root}"]) == 0
    assert data.index.path.stat().st_mtime_ns == made
    assert "2 listed images are missing or unreadable" in capsys.readouterr().out
    fake_nuswide.write_images([f"Flickr/{name}" for name in fake_nuswide.images])
    assert prepare(["nuswide", f"--root={fake_nuswide.root}"]) == 0
    text = capsys.readouterr().out
    assert "missing or unreadable" not in text
    assert lost.read_text() == ""


def test_the_command_it_names_is_one_of_fit(
    fake_nuswide: FakeNUSWide, capsys: pytest.CaptureFixture[str]
) -> None:
    (fake_nuswide.root / "Flickr").rename(fake_nuswide.root / "photos")
    own = ["--image_folder=photos", "--prepared=index"]
    assert prepare(["nuswide", f"--root={fake_nuswide.root}", *own]) == 0
    *_, command = capsys.readouterr().out.splitlines()
    data = parse_config(command.partition("zsl.fit ")[2].split()).data.init_args
    assert (data.image_folder, data.prepared) == ("photos", "index")


@pytest.mark.parametrize("num_workers", [1, 2])
def test_shrunken_copies_are_whole_and_used(
    fake_nuswide: FakeNUSWide, num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_images, "_FEW", 4)
    arguments = [
        "nuswide",
        f"--root={fake_nuswide.root}",
        "--resize=16",
        f"--num_workers={num_workers}",
    ]
    assert prepare(arguments) == 0
    folder = fake_nuswide.root / "zsl" / "images-16"
    assert len(list(folder.rglob("*.jpg"))) == len(fake_nuswide.images)
    for name in fake_nuswide.images:
        with (
            Image.open(folder / name) as small,
            Image.open(fake_nuswide.root / "Flickr" / name) as image,
        ):
            assert small.size == (16, 16)
            reference = np.asarray(image.resize((16, 16), Image.Resampling.BOX), dtype=int)
            assert np.abs(np.asarray(small, dtype=int) - reference).mean() < 6
    root = str(fake_nuswide.root)
    data = NUSWideDataModule(root, resized=16, images=ImageConfig(16), val_fraction=0.1)
    dataset = data.dataset(Split.TEST, data.evaluation_transform)
    assert dataset.path(0) == folder / fake_nuswide.images[24]
    assert dataset.pixels(0, 16).shape == (3, 16, 16)
    assert dataset.image(0).size == (40, 30)  # People see the image itself.

    # Nothing is done twice; what changed or went is done again.
    before = {path: path.stat().st_ctime_ns for path in folder.rglob("*.jpg")}
    assert prepare(arguments) == 0
    assert {path: path.stat().st_ctime_ns for path in folder.rglob("*.jpg")} == before
    (folder / fake_nuswide.images[3]).unlink()
    Image.new("RGB", (50, 50), "red").save(fake_nuswide.root / "Flickr" / fake_nuswide.images[4])
    assert prepare(arguments) == 0
    after = {path: path.stat().st_ctime_ns for path in folder.rglob("*.jpg")}
    changed = {path for path in after if after[path] != before[path]}
    assert changed == {folder / fake_nuswide.images[3], folder / fake_nuswide.images[4]}

    # No copy of another image is taken for that of this one.
    Image.new("RGB", (50, 50), "blue").save(fake_nuswide.root / "Flickr" / fake_nuswide.images[5])
    message = f"does not hold a copy of {fake_nuswide.images[5]} as it is now"
    with pytest.raises(InputError, match=message):
        NUSWideDataModule(str(fake_nuswide.root), resized=16, val_fraction=0.1)


_SLOW = """
import sys, time
from zsl.data.nuswide import check_images
from zsl.commands.prepare import main
original = check_images.check_image
def slow(*job):
    time.sleep(0.05)
    return original(*job)
check_images.check_image = slow
check_images._SECONDS_BETWEEN_SAVES = 0.2
sys.exit(main(sys.argv[1:]))
"""


def test_a_killed_run_is_taken_up_where_it_was(
    fake_nuswide: FakeNUSWide, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fake_nuswide.root / "zsl" / "images-16"
    arguments = ["nuswide", f"--root={fake_nuswide.root}", "--resize=16", "--num_workers=1"]
    process = subprocess.Popen([sys.executable, "-c", _SLOW, *arguments], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while len(list(folder.rglob("[!.]*.jpg"))) < 12 and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = {path: path.stat().st_ctime_ns for path in folder.rglob("[!.]*.jpg")}
    assert 12 <= len(done) < len(fake_nuswide.images)
    for path in done:
        with Image.open(path) as image:
            image.load()  # Whole.
    data = ["--config=nuswide.yaml", f"--data.root={fake_nuswide.root}", "--data.resized=16"]
    assert fit(data) == 2
    assert "images-16 does not hold a copy of" in capsys.readouterr().err
    assert prepare(arguments) == 0
    after = {path: path.stat().st_ctime_ns for path in folder.rglob("[!.]*.jpg")}
    assert len(after) == len(fake_nuswide.images)
    # The last save of the progress is at most some images behind.
    assert sum(after[path] == done[path] for path in done) >= 4
    assert not list(folder.rglob(".partial*"))
    NUSWideDataModule(str(fake_nuswide.root), resized=16, val_fraction=0.1)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for the processes in /proc")
def test_processes_end_with_a_killed_parent(fake_nuswide: FakeNUSWide) -> None:
    script = """
import multiprocessing, pathlib, sys
from zsl.files.images import check_image
from zsl.files.processes import process_map
if __name__ == "__main__":
    with process_map(2) as do:
        next(do(check_image, [pathlib.Path(sys.argv[1])] * 40, [None] * 40, [0] * 40))
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        sys.stdin.read()
"""
    path = fake_nuswide.root / "parent.py"
    path.write_text(script)
    process = subprocess.Popen(
        [sys.executable, str(path), str(fake_nuswide.root / "Flickr" / fake_nuswide.images[0])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    children = [int(number) for number in process.stdout.readline().split()]
    assert len(children) == 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(map(is_running, children)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_running, children))


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # Ended; nobody asked for its exit code yet.


def test_an_image_that_comes_meanwhile_is_not_taken_for_done(
    fake_nuswide: FakeNUSWide,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    late = fake_nuswide.root / "Flickr" / fake_nuswide.images[0]
    content = late.read_bytes()
    late.unlink()
    original = check_images._read_checks

    def check(*arguments: Any) -> Any:
        late.write_bytes(content)
        return original(*arguments)

    monkeypatch.setattr(check_images, "_read_checks", check)
    assert prepare(["nuswide", f"--root={fake_nuswide.root}", "--resize=16"]) == 2
    assert f"does not hold a copy of {fake_nuswide.images[0]}" in capsys.readouterr().err
    assert prepare(["nuswide", f"--root={fake_nuswide.root}", "--resize=16"]) == 0


def test_processes_find_in_a_copy_what_one_does(
    fake_nuswide: FakeNUSWide, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["nuswide", f"--root={fake_nuswide.root}", "--resize=16", "--num_workers=1"]
    assert prepare([*arguments, "--prepared=alone"]) == 0
    monkeypatch.setattr(check_images, "_TURN", 3)
    assert run_command(monkeypatch, prepare, [*arguments, "--prepared=together"]) == 0
    one, other = fake_nuswide.root / "alone", fake_nuswide.root / "together"
    names = {str(path.relative_to(one)) for path in one.rglob("*") if path.is_file()}
    assert names == {str(path.relative_to(other)) for path in other.rglob("*") if path.is_file()}
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_ctrl_c_keeps_what_was_done(
    fake_nuswide: FakeNUSWide,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    count = 0

    def check(*job: Any) -> Any:
        nonlocal count
        count += 1
        if count == 10:
            raise KeyboardInterrupt
        return check_image(*job)

    monkeypatch.setattr(check_images, "check_image", check)
    assert prepare(["nuswide", f"--root={fake_nuswide.root}"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "Stopped."
    count = 100
    assert prepare(["nuswide", f"--root={fake_nuswide.root}"]) == 0
    assert count == 100 + len(fake_nuswide.images) - 9


def test_mistakes_are_one_sentence(
    fake_nuswide: FakeNUSWide, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (fake_nuswide.root / "Groundtruth/TrainTestLabels/Labels_sky_Test.txt").unlink()
    for arguments, message in (
        ([f"--root={fake_nuswide.root}"], "it lacks Groundtruth/TrainTestLabels/Labels_*_Test.txt"),
        ([f"--root={tmp_path / 'nowhere'}"], "nowhere does not exist; set root"),
        ([f"--root={fake_nuswide.root}", "--resize=0"], "--resize is 0; expected 1 or more"),
        ([f"--root={fake_nuswide.root}", "--resize=big"], "--resize is 'big'; expected int"),
        ([], "root is not set"),
        ([f"--root={fake_nuswide.root}", "--table=no.csv"], "no.csv does not exist"),
        (
            [f"--root={fake_nuswide.root}", "--image_folder=no"],
            "no does not exist; set image_folder",
        ),
    ):
        assert prepare(["nuswide", *arguments]) == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith("error: ")
        assert message in error
        assert len(error.splitlines()) == 1
    assert prepare(["nuswide", f"--root={fake_nuswide.root}"]) == 2
    # What is there is told before what is not.
    assert "Labels_*_Test.txt   3 of 4" in capsys.readouterr().out
    assert prepare(["imagenet", "--root=x"]) == 2


@pytest.mark.usefixtures("in_tmp_path")
def test_a_run_with_files_goes_on_with_shards(capsys: pytest.CaptureFixture[str]) -> None:
    """To the same digits: order, variation, targets and results are those of the files."""
    images = "--data.images={size: 32, min_crop: 0.3, horizontal_flip: true}"
    model = [*TINY_MODEL, *QUICK, "--trainer.max_epochs=2", "--trainer.log_every_n_steps=1"]
    files = ["--config=shapes.yaml", *TINY_SHAPES, "--data.num_train=40", images]
    assert fit([*files, *model]) == 0
    Interrupt.trained = []
    with pytest.raises(SystemExit):
        fit([*files, *model, *interrupt(7, "before")])
    assert prepare(["shards", *files, "--output=shards", "--images_per_shard=7"]) == 0
    text = capsys.readouterr().out
    assert f"Written to {Path('shards').resolve()}: 11 shards, 0.00 GB." in text
    own = next(line for line in text.splitlines() if line.startswith("Next: python -m zsl.fit"))
    own = own.removeprefix("Next: python -m zsl.fit --config shapes.yaml ")
    assert own == f"--data zsl.data.ShardsDataModule --data.root {Path('shards').resolve()} ..."
    shards = ["--config=shapes.yaml", *own.removesuffix(" ...").split(), "--data.batch_size=8"]
    last = "--ckpt_path=runs/shapes/version_1/checkpoints/last.ckpt"
    assert fit([*shards, images, *model, "--data.num_workers=2", last]) == 0
    (losses, whole), (first, _), (rest, resumed) = map(
        trained, ("version_0", "version_1", "latest")
    )
    assert len(losses) == 10
    assert losses == first + rest
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    results = [
        json.loads(Path(f"runs/shapes/{run}/results.json").read_text())["metrics"]
        for run in ("version_0", "latest")
    ]
    assert results[0] == results[1]


@pytest.mark.usefixtures("in_tmp_path")
def test_mistakes_with_shards_are_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    config = ["shards", "--config=shapes.yaml"]
    for arguments, message in (
        (config, "--output is not set"),
        ([*config, "--output=a", "--images_per_shard=0"], "images_per_shard is 0; expected 1"),
        ([*config, "--output=a", "--images_per_shard=x"], "images_per_shard"),
        ([*config, "--output=a", "--data.sead=1"], "Did you mean"),
        ([*config, "--output=/dev/null"], "exists and holds no shards"),
    ):
        assert prepare(arguments) == 2
        error = capsys.readouterr().err.strip().splitlines()
        assert len(error) == 1
        assert message in error[0]
    assert not Path("a").exists()
    assert prepare(["shards", "--help"]) == 0
    assert prepare(["shard"]) == 2
    message = "expected table, nuswide, features, shards. Did you mean 'shards'?"
    assert message in capsys.readouterr().err
