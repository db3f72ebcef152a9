"""`zsl.prepare table` as somebody with a folder of photographs runs it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.fakes.runs import QUICK, TINY_MODEL, UNFROZEN
from zsl.commands.configs import find_config
from zsl.commands.fit import main as fit
from zsl.commands.prepare import main as prepare
from zsl.commands.table_config import config_text, schedule
from zsl.data import Split, TableDataModule
from zsl.labels import Role

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)}
COLOURS |= {"white": (250, 250, 250), "black": (5, 5, 5), "pink": (250, 150, 180)}


def write_photographs(root: Path, count: int = 60) -> list[list[str]]:
    """Writes images of two colours each; returns their tags."""
    random = np.random.default_rng(0)
    (root / "2019").mkdir(parents=True)
    tags = []
    for number in range(count):
        left, right = random.choice(list(COLOURS), 2, replace=False)
        noise = random.integers(0, 90, (6, 8, 3))
        pixels = np.asarray(Image.fromarray(noise.astype(np.uint8)).resize((48, 40))).astype(int)
        pixels[:, :24] += COLOURS[left]
        pixels[:, 24:] += COLOURS[right]
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(root / "2019" / f"{number}.png")
        tags.append([left, right])
    return tags


def write_table(root: Path, tags: list[list[str]], *more: str) -> Path:
    rows = [f"C:\\me\\2019\\{number}.png;{', '.join(own)}" for number, own in enumerate(tags)]
    path = root / "tags.csv"
    path.write_text("\n".join(["Datei;Stichworte", *rows, *more]) + "\n")
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def roles(root: Path) -> dict[str, str]:
    return {row["name"]: row["role"] for row in read_csv(root / "classes.csv")}


def test_a_folder_as_people_have_it(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = in_tmp_path / "photos"
    tags = write_photographs(root)
    tags[0] = ["Red", "once"]
    with Image.open(root / "2019" / "7.png") as image:
        image.resize((96, 80)).save(root / "copy.jpg")
    (root / "2019" / "broken.png").write_bytes(b"\x89PNG")
    for name in ("bare", "unlisted"):
        Image.new("RGB", (9, 9)).save(root / f"{name}.png")
    write_table(root, tags, f"copy.jpg;{tags[7][0]}", "broken;red", "gone.jpg;red", "bare;")
    arguments = ["table", f"--root={root}", "--unseen=pink", "--seed=1"]
    assert prepare(arguments) == 0
    output = capsys.readouterr().out
    assert "Tags: tags.csv, a table with semicolons: 'Datei' names the images" in output
    for note in (
        "left out, not in the folder: 1 of 64 listed images, such as 'gone.jpg'",
        "left out, not listed: 1 of 64 image files, such as 'unlisted.png'",
        "left out, unreadable: 1 images, the first 2019/broken.png",
        "images are nearly the same as another one, such as ",
        "left out, without a tag: 1 images",
        "merged to the first: 'red' (",
        "left out, on fewer than 5 images: 1 of 7 tags, such as 'once'",
        "training images show an unseen label ('pink')",
        "Next: python -m zsl.fit --config photos/zsl.yaml",
    ):
        assert note in output
    data = TableDataModule(str(root), num_workers=0)
    assert data.vocabulary.select(Role.UNSEEN) == ["pink"]
    assert len(data.vocabulary.select(Role.HELD_OUT)) == 1
    assert len(data.image_paths) == 61
    data.check_images(list(Split))
    split_of = dict(zip(data.image_paths, data.splits, strict=True))
    assert split_of["2019/7.png"] == split_of["copy.jpg"]
    assert data.label_lists[data.image_paths.index("2019/0.png")] == ["red"]
    train = [t for t, split in zip(data.label_lists, data.splits, strict=True) if split == "train"]
    pink = sum("pink" in own for own in train)
    assert f"note: {pink} of {len(train)} training images show an unseen label" in output
    assert 0.6 * 61 < len(train) < 0.8 * 61

    # What an earlier run wrote is no table of tags, and may be written anew.
    before = (root / "labels.csv").read_text()
    assert prepare(arguments) == 0
    assert (root / "labels.csv").read_text() == before
    assert prepare([*arguments, "--unseen=lilac"]) == 2
    assert "--unseen: 'lilac' is not one of the 6 labels." in capsys.readouterr().err


def test_splits_and_roles_are_kept_and_nobodys_table_is_overwritten(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tags = write_photographs(in_tmp_path / "photos", 40)
    names = [f"2019/{number}.png" for number in range(40)]
    splits = ["train", "train", "train", "test"] * 10
    rows = [f"{n},{'|'.join(t)},{s}" for n, t, s in zip(names, tags, splits, strict=True)]
    table = in_tmp_path / "photos" / "labels.csv"
    table.write_text("\n".join(["image,labels,split", *rows]))
    classes = in_tmp_path / "roles.csv"
    given = dict.fromkeys(COLOURS, "seen") | {"red": "unseen", "blue": "held_out"}
    classes.write_text("\n".join(["name,role", *(f"{n},{r}" for n, r in given.items())]))
    with Image.open(in_tmp_path / "photos" / names[0]) as image:
        image.resize((96, 80)).save(in_tmp_path / "photos" / names[3])
    arguments = ["table", "--root=photos", f"--classes={classes}"]
    assert prepare(arguments) == 2
    assert "'labels.csv' already, which this would overwrite" in capsys.readouterr().err
    assert prepare([*arguments, "--output=out"]) == 0
    output = capsys.readouterr().out
    assert "splits are kept as they were (test, train); the others were drawn" in output
    assert f"roles are kept as they are in {classes}" in output
    assert "1 validation and test images are nearly the same as a training image" in output
    assert roles(Path("out")) == given
    written = {row["image"]: row["split"] for row in read_csv(Path("out/labels.csv"))}
    assert [name for name in names if written[name] == "test"] == names[3::4]
    assert sum(split == "val" for split in written.values()) == pytest.approx(6, abs=2)
    # Without a word about roles, those of a class file beside the table are kept.
    classes.rename(in_tmp_path / "photos" / "classes.csv")
    assert prepare(["table", "--root=photos", "--output=out", "--keep_split=false"]) == 0
    output = capsys.readouterr().out
    assert "nearly the same as a training image" not in output
    assert roles(Path("out")) == given
    assert prepare(["table", "--root=photos", "--output=out", "--unseen=pink"]) == 0
    assert (roles(Path("out"))["pink"], roles(Path("out"))["red"]) == ("unseen", "seen")
    assert table.read_text().startswith("image,labels,split\n2019/0.png")
    config = yaml.safe_load(Path("out/zsl.yaml").read_text())["data"]["init_args"]
    data = TableDataModule(config["root"], config["table"], config["classes"])
    assert len(data.image_paths) == 40


@pytest.mark.parametrize("name", ["labels.csv", "classes.csv", "zsl.yaml"])
def test_what_was_changed_since_is_not_overwritten(
    name: str, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = in_tmp_path / "photos"
    table = write_table(photos, write_photographs(photos))
    arguments = ["table", "--root=photos"]
    assert prepare(arguments) == 0
    assert prepare(arguments) == 0
    own = photos / name
    written = own.read_text()
    own.write_text(written + " ")
    assert prepare(arguments) == 2
    assert f"photos has '{name}', changed since it was written" in capsys.readouterr().err
    assert own.read_text() == written + " "
    assert prepare([*arguments, "--overwrite=true"]) == 0
    assert own.read_text() == written
    table.rename(photos / "other.csv")
    assert prepare(arguments) == 2
    assert f"zsl.yaml came from {table.name}; say" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["folders", "keywords", "metadata"])
def test_other_sources(kind: str, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = in_tmp_path / "photos"
    tags = write_photographs(root, 30)
    for number, own in enumerate(tags):
        path = root / "2019" / f"{number}.png"
        if kind == "folders":
            for tag in own:
                (root / "by colour" / tag).mkdir(parents=True, exist_ok=True)
                (root / "by colour" / tag / f"{number}.png").write_bytes(path.read_bytes())
            path.unlink()
        elif kind == "keywords":
            sidecar = "".join(f"<rdf:li>{tag}</rdf:li>" for tag in own)
            (root / "2019" / f"{number}.png.xmp").write_text(
                '<x xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:RDF>'
                '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag>'
                f"{sidecar}</rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x>"
            )
    if kind == "metadata":
        lines = [{"file_name": f"{n}.png", "tags": own} for n, own in enumerate(tags)]
        text = "\n".join(map(json.dumps, lines))
        (root / "2019" / "metadata.jsonl").write_text(text)
    assert prepare(["table", "--root=photos", "--min_images=1", "--held_out=red"]) == 0
    source = {"folders": "folders, each a tag", "keywords": "keywords inside the images"}
    assert source.get(kind, "metadata.jsonl in the folders '2019'") in capsys.readouterr().out
    written = {
        int(Path(row["image"]).stem): set(row["labels"].split("|"))
        for row in read_csv(root / "labels.csv")
    }
    assert written == {number: set(own) for number, own in enumerate(tags)}
    assert roles(root)["red"] == "held_out"


def test_what_cannot_be_read_is_one_sentence(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = in_tmp_path / "photos"
    tags = write_photographs(root, 12)

    def refused(*arguments: str) -> str:
        assert prepare(["table", "--root=photos", *arguments]) == 2
        return capsys.readouterr().err

    assert "All images in" in refused("--format=folders")
    assert "None of the 12 images in" in refused("--format=keywords")
    assert "has no table in it" in refused("--format=table")
    assert "--format is 'xml'; expected table, folders, keywords" in refused("--format=xml")
    write_table(root, tags)
    assert "tags are on 50 images or more; two are needed" in refused("--min_images=50")
    assert "expected above 0, and below 1 together" in refused(
        "--val_fraction=0.9", "--min_images=1"
    )
    assert "the file" in refused("--tags=no.csv").lower()
    (root / "more.csv").write_text("image,tags\n1.png,dog\n")
    assert "has 2 tables ('more.csv', 'tags.csv')" in refused()


def test_the_config_is_that_of_tables_but_for_what_the_set_decides(in_tmp_path: Path) -> None:
    write_table(in_tmp_path / "photos", write_photographs(in_tmp_path / "photos", 30))
    assert prepare(["table", "--root=photos", "--held_out=0"]) == 0
    written = yaml.safe_load((in_tmp_path / "photos" / "zsl.yaml").read_text())
    shipped = yaml.safe_load(Path(find_config("table.yaml")).read_text())
    data = written["data"]["init_args"]
    assert data["batch_size"] == 8
    assert data["root"] == str(in_tmp_path / "photos")
    assert written["checkpoint"]["monitor"] == "val/seen/mAP"
    assert written["trainer"].pop("log_every_n_steps") == 1
    assert written["trainer"]["logger"][0]["init_args"].pop("name") == "photos"
    assert shipped["trainer"]["logger"][0]["init_args"].pop("name") == "table"
    assert data["images"] == shipped["data"]["init_args"]["images"]
    assert written["trainer"] == shipped["trainer"]
    written["model"]["scores"].pop("sample"), shipped["model"]["scores"].pop("sample")
    assert written["model"] == shipped["model"]


@pytest.mark.parametrize(
    ("num_train", "expected"),
    [(3, (8, 8, 1)), (200, (16, 8, 12)), (700, (64, 8, 10)), (100_000, (64, 2, 1562))],
)
def test_batches_and_passes_go_by_the_number_of_images(
    num_train: int, expected: tuple[int, int, int]
) -> None:
    assert schedule(num_train) == expected


@pytest.mark.parametrize(
    ("side", "labels", "size"), [(40, 9.0, 224), (300, 1.0, 224), (287, 2.0, 224), (288, 2.0, 288)]
)
def test_large_images_of_several_things_stay_larger(side: int, labels: float, size: int) -> None:
    root = Path("/photos")
    config = yaml.safe_load(config_text(root, root, "|", {Role.SEEN}, 99, side, labels))
    assert config["data"]["init_args"]["images"]["size"] == size


@pytest.mark.draws
def test_a_set_without_unseen_labels_is_trained_and_tested(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(in_tmp_path / "photos", write_photographs(in_tmp_path / "photos", 40))
    assert prepare(["table", "--root=photos", "--held_out=green"]) == 0
    capsys.readouterr()
    small = ["--data.images.size=32", "--data.num_workers=0", *TINY_MODEL, *QUICK, *UNFROZEN]
    assert fit(["--config=photos/zsl.yaml", *small]) == 0
    output = capsys.readouterr().out
    assert "Labels: 5 seen + 1 held out = 6 (GZSL)." in output
    assert "selected the checkpoint: 'green'." in output
    assert "Harmonic mean of held-out and seen mAP" in output
    run = in_tmp_path / "runs" / "photos" / "version_0"
    results = json.loads((run / "results.json").read_text())
    assert results["protocol"]["num_labels"] == {"held_out": 1, "gzsl": 6, "seen": 5}
    assert {"test/held_out/mAP", "test/harmonic_mAP"} <= set(results["metrics"])
    with Image.open(run / "report" / "curves.png") as image:
        assert min(image.size) > 300

    assert prepare(["table", "--root=photos", "--held_out=0"]) == 0
    assert fit(["--config=photos/zsl.yaml", *small]) == 0
    results = json.loads((run.parent / "version_1" / "results.json").read_text())
    assert results["protocol"]["num_labels"] == {"seen": 6}
