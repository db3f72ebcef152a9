"""Tables in the dialects and types that people have."""

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from zsl.errors import InputError
from zsl.files.tables import read_table

COLUMNS = ("image", "labels")
TABLE = {"image": ["1.png", "2.png"], "labels": ["red|café", ""]}


@pytest.mark.parametrize(
    "content",
    [
        "image,labels\n1.png,red|café\n2.png,\n",
        "image, labels , split\r\n 1.png , red|café\r\n2.png,,test\r\n",
        'image;labels\n1.png; "red|café"\n2.png;\n\n;\n',
        "labels\timage\nred|café\t1.png\n\t2.png\n",
        "image,labels\n1.png,red|café,,\n2.png\n,,,\n\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_dialects_that_are_clear_are_read(tmp_path: Path, content: str, encoding: str) -> None:
    path = tmp_path / "tags.csv"
    path.write_bytes(content.encode(encoding))
    assert read_table(path, COLUMNS) == TABLE
    path.write_bytes(gzip.compress(content.encode(encoding)))
    assert read_table(path, COLUMNS) == TABLE


def coco() -> bytes:
    annotations = [{"id": number, "bbox": [1, 2, 3, 4]} for number in range(10_000)]
    return json.dumps({"images": [], "annotations": annotations}).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (coco(), "is a COCO JSON, not a table; write what it holds"),
        (b'[{"image": "1.png"}]', "is JSON, not a table"),
        (b"PK\x03\x04\xff", r"can't be read \(it is an Excel workbook or another zip file\)"),
        (b"image,labels\n1.png,caf\xe9\n", "line 2 is not UTF-8; .* iconv -f cp1252"),
        ("image,labels\n".encode("utf-16-le"), "bytes of zero"),
        (b"\x1f\x8bimage", r"tags\.csv can't be read"),
        (b"", r"no column 'image' \(found: nothing\)"),
        (b"image,labels\n,\n\n", "has no rows below its header"),
        (b"image,labels\n1.png,a,b\n", "line 2 has 3 cells, but the header has 2; put quotes"),
        (b"image,labels, labels\n1.png,a,b\n", "two columns 'labels'"),
        (b"image,label s\n1.png,a\n", r"\(found: 'image', 'label s'\).* mean 'label s'\?"),
        (b'image,labels\n1.png,"a\n', "can't be read as a table: line 2: unexpected end"),
        (",".join(f"column {n}" for n in range(9999)).encode(), "'column 19' and 9979 more"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "tags.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message.replace("9979", "9,979")) as error:
        read_table(path, COLUMNS)
    assert len(str(error.value)) < 1510


def write_parquet(path: Path, labels: Any) -> Path:
    pd.DataFrame({"image": [7, 8], "other": [{"bytes": b"1" * 9999}] * 2, "labels": labels}).astype(
        {"image": "category"}
    ).to_parquet(path)
    return path


def test_columns_of_parquet_have_types(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "tags.PARQUET", [["dog", " hot dog"], None])
    expected = {"image": ["7", "8"], "labels": [["dog", "hot dog"], []]}
    assert read_table(path, COLUMNS, lists=["labels"]) == expected
    with pytest.raises(InputError, match=r"'labels' is of the type list<.*>; expected text\.$"):
        read_table(path, COLUMNS)
    path = write_parquet(tmp_path / "tags.parquet", [None, " dog "])
    assert read_table(path, COLUMNS, lists=["labels"])["labels"] == ["", "dog"]


@pytest.mark.parametrize(
    "labels", [[1.5, 2], [True, False], [{"bytes": b"1" * 9999}] * 2, [[1.5], []]]
)
def test_columns_of_another_type_are_refused(tmp_path: Path, labels: Any) -> None:
    path = write_parquet(tmp_path / "tags.parquet", labels)
    with pytest.raises(InputError, match=r"'labels' is of the type .*; expected text or") as error:
        read_table(path, COLUMNS, lists=["labels"])
    assert len(str(error.value)) < 300
