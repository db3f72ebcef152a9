"""Tables of tags as people write them."""

from pathlib import Path

import pandas as pd
import pytest

from zsl.data.photographs.image_names import ImageNames
from zsl.data.photographs.tables import TaggedImages, read_tagged
from zsl.data.photographs.tags import split_cells
from zsl.errors import InputError

FILES = ["a/1.jpg", "a/2.jpg", "b/2.jpg", "b/3.png"]


def read(tmp_path: Path, text: str | bytes, name: str = "tags.csv", **how: str) -> TaggedImages:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_tagged(path, ImageNames(FILES), **how)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a/1.jpg", ["a/1.jpg"]),
        ("./a/1.jpg", ["a/1.jpg"]),
        (r"C:\Users\me\photos\a\1.jpg", ["a/1.jpg"]),
        ("/data/photos/A/1.JPG", ["a/1.jpg"]),
        ("1.jpg", ["a/1.jpg"]),
        ("3", ["b/3.png"]),
        ("b/3", ["b/3.png"]),
        ("2.jpg", ["a/2.jpg", "b/2.jpg"]),
        ("c/2.jpg", []),
        ("4.jpg", []),
        ("", []),
    ],
)
def test_a_name_means_the_files_whose_path_ends_so(name: str, found: list[str]) -> None:
    assert ImageNames(FILES).find(name) == found


TAGS = [["dog", "wide beach"], ["dog"]]


@pytest.mark.parametrize(
    "text",
    [
        "image,tags\na/1.jpg,dog|wide beach\na/2.jpg,dog\n",
        'image,tags\na/1.jpg,"dog, wide  beach"\na/2.jpg,dog\n',
        "Datei;Stichworte;Ort\n1.jpg;dog, wide beach;Rom\na/2.jpg;dog;Bonn\n",
        "\ufefffile\tkeywords\r\na/1.jpg\tdog; wide beach\r\na/2.jpg\tdog\r\n",
        "image,tags\na/1.jpg,dog,wide beach\na/2.jpg,dog\n",
        "a/1.jpg,dog,wide beach\na/2.jpg,dog\n",
        "image,tag\na/1.jpg,dog\na/2.jpg,dog\na/1.jpg,wide beach\n",
        "image,dog,wide beach\na/1.jpg,1,x\na/2.jpg,TRUE,0\n",
        "image,labels\na/1.jpg,\"['dog', 'wide beach']\"\na/2.jpg,['dog']\n",
        '{"file_name": "a/1.jpg", "tags": ["dog", "wide beach"]}\n'
        '{"file_name": "a/2.jpg", "tags": ["dog"]}\n',
        '[{"image": "a/1.jpg", "label": "dog|wide beach"}, {"image": "a/2.jpg", "label": "dog"}]',
    ],
)
def test_one_table_in_many_dialects(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text)
    assert found.tags == TAGS
    assert [ImageNames(FILES).find(name) for name in found.names] == [["a/1.jpg"], ["a/2.jpg"]]
    assert found.splits == []


def test_parquet_with_lists(tmp_path: Path) -> None:
    frame = pd.DataFrame({"image": FILES[:2], "labels": TAGS, "subset": ["Training", "dev"]})
    frame.to_parquet(tmp_path / "tags.parquet")
    found = read_tagged(tmp_path / "tags.parquet", ImageNames(FILES))
    assert (found.tags, found.splits) == (TAGS, ["train", "val"])
    assert "a Parquet table: 'image' names the images, 'labels' their tags" in found.source


def test_hashtags_and_a_sign_of_ones_own() -> None:
    assert split_cells(["#dog #beach", "", "#dog, #cat"], None)[0] == [
        ["dog", "beach"],
        [],
        ["dog", "cat"],
    ]
    assert split_cells(["a, b/c", "d"], "/")[0] == [["a, b", "c"], ["d"]]
    assert split_cells(["red car", "dog"], None) == ([["red car"], ["dog"]], "")


def test_what_is_odd_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "Bild;Tags;Ort\n1.jpg;Käse;Rom\n3.png;Käse,Brot;\n;;leer\n".encode("cp1252")
    found = read(tmp_path, text)
    assert found.tags == [["Käse"], ["Käse", "Brot"]]
    assert "line 2 is not UTF-8; read as cp1252" in caplog.text
    assert found.notes == [
        "columns that were passed over: 'Ort'.",
        "1 rows name no image and were passed over.",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("image\n1.jpg\n", "a single cell; expected a column of images and one or more of tags"),
        (
            "image,tags\nx.jpg,dog\n",
            "No column of .* the first 'image' is 'x.jpg', the first image",
        ),
        ("image,place,by\n1.jpg,Rome,Ann\n", "name that of the tags with --tags_column"),
        ("image,tags,split\n1.jpg,dog,train\n1.jpg,cat,test\n", "is there twice, once with"),
        ("image,tags,tags\n1.jpg,dog,cat\n", "two columns"),
        ('{"image": 1', "begins as JSON does"),
        ("image,tags\n", "no rows"),
        (
            "image,tags\n" + "1.jpg,dog\n" * 300 + '2.jpg,"' + "dog," * 40_000,
            "with commas: field larger than .*; look for a quote that is not closed",
        ),
    ],
)
def test_what_cannot_be_understood_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)
    with pytest.raises(InputError, match="has no column 'words'"):
        read(tmp_path, "image,tags\n1.jpg,dog\n", column="words")
