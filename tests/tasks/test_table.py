"""Tables from CSV and Parquet files, and every mistake that such a file can hold."""

import hashlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from snaprun.checks import UserError
from snaprun.tasks import table as module
from snaprun.tasks.table import read_table


@pytest.fixture
def read(tmp_path):
    """A function that reads the columns of a file with this content."""

    def of(content: str | bytes, columns=None, targets=None):
        path = tmp_path / "t.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_table(str(path), "a file", columns, targets)

    return of


@pytest.fixture
def refusal(read):
    """A function that returns the line which refuses a file with this content."""

    def of(content: str | bytes, *chosen):
        with pytest.raises(UserError) as caught:
            read(content, *chosen)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return of


def test_numbers_are_those_that_python_reads(read, tmp_path):
    drawn = np.random.default_rng(0).standard_normal((7, 3)) * 10.0 ** np.arange(-20, 40, 20)
    content = "a,b,c\n" + "\n".join(",".join(map(repr, row)) for row in drawn.tolist())
    table = read(content)
    assert table.names == ["a", "b", "c"]
    assert table.values.dtype == np.float64
    assert np.array_equal(table.values, drawn)
    assert table.sha256 == hashlib.sha256(content.encode()).hexdigest()


@pytest.mark.parametrize(
    "content",
    [
        "a,b\r\n1,-2.5\r\n3,4e2\r\n",
        "a,b\n1,-2.5\n3,4e2",
        "a,b\n1,-2.5\n3,4e2\n\n\n",
        "\ufeffa, b\n 1 , -2.5\n3,400",
        '"a","b"\n"1","-2.5"\n"3",400.0\n',
    ],
)
def test_ways_to_write_the_same_table(read, content):
    table = read(content)
    assert table.names == ["a", "b"]
    assert table.values.tolist() == [[1, -2.5], [3, 400]]


def test_columns_are_chosen_by_name_and_come_in_that_order(read):
    content = 'when,a,b,c\nmonday,1,2,3\n"a, b",4,5,6\n'
    assert read(content, ["c", "a"]).values.tolist() == [[3, 1], [6, 4]]
    table = read(content, ["b"], ["a", "b"])
    assert (table.names, table.values.tolist()) == (["b", "a"], [[2, 1], [5, 4]])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("a,b\n1,2\n3,\n", "line 3, column 'b' is missing"),
        ("a,b\n1,2\n3,NA\n", "line 3, column 'b' is missing"),
        ("a,b\nnan,2\n", "line 2, column 'a' is missing"),
        ("a\n1\n\n2\n", "Line 3 is empty"),
        ("a,b\n1,2\n3\n", "Line 3 has 1 fields, the first line 2"),
        ("a,b\n1,2\n1,2,3\n", "Line 3 has 3 fields, the first line 2"),
        ("a,b\n1,2,\n", "Line 2 has 3 fields, the first line 2"),
        ("a,b\n1,2\n3,four\n", "line 3, column 'b' is the text 'four'"),
        ("a,b\n1,2\n3,4_0\n", "line 3, column 'b' is the text '4_0'"),
        ("a,b\n1,2\n-inf,4\n", "line 3, column 'a' is -inf, infinite"),
        ("a,b\n1,1e200\n", "line 2, column 'b' is 1e200, beyond"),
        ('a,b\n"1\n",2\n3,x\n', "line 4, column 'b' is the text 'x'"),  # a field of two lines
        ("a,b\r1,2\r3,x\r", "line 3, column 'b' is the text 'x'"),
    ],
)
def test_a_wrong_value_is_named_by_line_and_column(refusal, content, found):
    line = refusal(content)
    assert line.startswith("task.data='")
    assert "t.csv' is not accepted: expected a number in every row of every column" in line
    assert found in line


def test_lines_count_as_an_editor_counts_them(refusal):
    """Text with a line break in a column that is not read counts as two lines."""
    content = 'note,a\n"one\ntwo",1\nx,2\nx,bad\n'
    assert content.split("\n")[4] == "x,bad"
    assert "line 5, column 'a' is the text 'bad'" in refusal(content, ["a"])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", "That line is empty"),
        ("\n1\n", "That line is empty"),
        ("a,b\n", "has none"),
        ("1,2\n3,4\n", "That line holds numbers"),
        ("a,b,a\n1,2,3\n", "'a' is the name of 2 of them"),
        (b"a\n\xff\n", "It is neither ('utf-8' codec"),
        (b"PAR1", "Parquet"),
        ("a;b\n1;2\n", "commas between its values. Its first line has ';' instead"),
        ("a;b\n1,5;2,5\n", "commas between its values. Its first line has ';' instead"),
        ("a\tb\n1\t2\n", "commas between its values. Its first line has a tab instead"),
    ],
)
def test_what_is_no_table_is_refused(refusal, content, found):
    assert found in refusal(content)


def test_a_column_that_is_not_there_is_refused_with_those_there(refusal):
    line = refusal("wind,rain\n1,2\n", ["winde"])
    assert line == (
        "task.columns='winde' is not accepted: expected one of wind, rain. Did you mean wind?"
    )
    assert refusal("wind,rain\n1,2\n", None, ["sun"]).startswith("task.targets='sun' is not")


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_columns_are_one_or_more_and_different(refusal, names):
    assert "each of them once, or null" in refusal("a,b\n1,2\n", names)
    assert "each of them once, or null" in refusal("a,b\n1,2\n", ["a"], names)


@pytest.mark.parametrize("name", ["no/such/file", "."])
def test_what_is_no_file_is_refused_with_what_is_accepted(name):
    with pytest.raises(UserError, match=r"^task\.data=.* is not accepted: expected a file\. "):
        read_table(name, "a file", None, None)


def test_parquet_without_pyarrow_says_what_to_install(refusal, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert refusal(b"PAR1....").endswith("install pyarrow: pip install 'snaprun[parquet]'.")


def frame(rows: int = 1000) -> pd.DataFrame:
    drawn = np.random.default_rng(0)
    floats = drawn.standard_normal(rows)
    return pd.DataFrame(
        {
            "a": floats,
            "word": ["x"] * rows,
            "b": drawn.integers(-9, 9, rows),
            "c": floats.astype(np.float32),
        }
    )


def test_parquet_and_csv_are_equal(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(module, "CHUNK", 300)
    table = frame()
    table["c"] = table["c"].astype(float)
    table.to_csv(tmp_path / "t.csv", index=False)
    table["c"] = table["c"].astype(np.float32)
    table.to_parquet(tmp_path / "t.parquet")
    csv, parquet = (
        read_table(str(tmp_path / f"t.{kind}"), "a file", ["c", "a"], ["b"])
        for kind in ("csv", "parquet")
    )
    assert csv.names == parquet.names == ["c", "a", "b"]
    assert np.array_equal(csv.values, parquet.values)
    assert np.array_equal(csv.values, table[["c", "a", "b"]].to_numpy(float))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.nan, "row 701, column 'a' is missing"),
        (None, "row 701, column 'a' is missing"),
        (np.inf, "row 701, column 'a' is inf, infinite"),
    ],
)
def test_a_wrong_value_of_parquet_is_named_by_row_and_column(tmp_path, monkeypatch, value, found):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(module, "CHUNK", 300)
    table = frame()
    table.loc[700, "a"] = value
    table.to_parquet(tmp_path / "t")
    with pytest.raises(UserError) as caught:
        read_table(str(tmp_path / "t"), "a file", ["b", "a"], None)
    assert found in str(caught.value)


def test_parquet_of_another_type_or_cut_off_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "t"
    frame().to_parquet(path)
    with pytest.raises(UserError, match=r"The column 'word' has the type (large_)?string: repair"):
        read_table(str(path), "a file", None, None)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"that is whole. It cannot be read \(.*\)\.$"):
        read_table(str(path), "a file", None, None)


@pytest.mark.parametrize("compression", ["snappy", "gzip"])
def test_parquet_with_a_damaged_page_is_refused(tmp_path, compression):
    pytest.importorskip("pyarrow")
    path = tmp_path / "t"
    frame().round(1).to_parquet(path, compression=compression)
    content = bytearray(path.read_bytes())
    content[40:400] = bytes(360)
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_table(str(path), "a file", ["a"], None)
    assert "a Parquet file that is whole. It cannot be read (" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_long_file_is_read_in_little_more_memory_than_its_numbers_take(tmp_path):
    rows, columns = 300_000, 4
    with (tmp_path / "t.csv").open("w") as file:
        file.write("a,b,c,d\n")
        file.writelines(f"{i}.125,{i}.25,{i}.5,1e-3\n" for i in range(rows))
    program = (
        "import resource, sys; from snaprun.tasks.table import read_table\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); table = read_table(sys.argv[1], '', None, None)\n"
        "print(peak() - before, *table.values[-1])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "t.csv"],
        capture_output=True,
        text=True,
        check=True,
    )
    grown, *last = map(float, run.stdout.split())
    assert last == [rows - 0.875, rows - 0.75, rows - 0.5, 1e-3]
    unit = 1 if sys.platform == "darwin" else 1024
    assert grown * unit < 2 * 8 * rows * columns
