"""The outline of a file is what torch.load makes of it; what could cost memory is refused."""

import io
import pickle
import random
import struct
import tracemalloc
import zipfile
from collections import OrderedDict

import pytest
import torch

from snaprun.run.checkpoint import _with_tensors
from snaprun.store.outline import Outline, Stored

TREE = {
    "version": 2,
    "words": {"a": "ü\x1b", "b": "", "same": "a"},
    "numbers": [0, -1, 255, 256, 65536, 2**31, 2**60, -(2**60), 1.5, True, False, None],
    "list": [torch.arange(6.0).view(2, 3), torch.arange(12).view(3, 4).T, torch.tensor(3.5)],
    "bool": torch.tensor([[True], [False]]),
    "byte": torch.arange(5, dtype=torch.uint8),
    "double": torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).double(),
    "empty": {"tensor": torch.zeros(0, 3), "dict": {}, "list": []},
    "part": torch.arange(20)[5:15:2],
    "many": {f"{n}": torch.full((n,), n) for n in range(300)},
}


def saved(tree, **options) -> bytes:
    buffer = io.BytesIO()
    torch.save(tree, buffer, **options)
    return buffer.getvalue()


def read(data: bytes):
    outline = Outline(io.BytesIO(data + bytes(32)))
    return _with_tensors(outline, outline.tree)


def same(one, two):
    assert type(one) is type(two)
    if isinstance(one, torch.Tensor):
        assert one.dtype == two.dtype
        assert one.stride() == two.stride()
        assert one.equal(two)
    elif isinstance(one, dict | list):
        assert len(one) == len(two)
        for key in one if isinstance(one, dict) else range(len(one)):
            same(one[key], two[key])
    else:
        assert one == two


def test_it_reads_what_torch_reads():
    data = saved(TREE)
    same(read(data), torch.load(io.BytesIO(data), weights_only=True))
    same(read(data), TREE)


NOT_OURS = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "meta": lambda: torch.empty(10**15, device="meta"),
    "parameter": lambda: torch.nn.Parameter(torch.ones(3)),
    "gradient": lambda: torch.ones(3, requires_grad=True),
    "half": lambda: torch.ones(3).half(),
    "complex": lambda: torch.ones(3, dtype=torch.complex64),
    "conjugate": lambda: torch.ones(3, dtype=torch.complex64).conj(),
    "negative": lambda: torch._neg_view(torch.ones(3)),
    "expanded": lambda: torch.ones(1).expand(10**15),
    "overlapping": lambda: torch.ones(6).as_strided((3, 3), (1, 1)),
    "tuple": lambda: (1, 2),
    "set": lambda: {1},
    "complex number": lambda: 1j,
    "bytes": lambda: b"x",
    "key": lambda: {1: 2},
    "size": lambda: torch.Size([1]),
    "dtype": lambda: torch.float32,
    "ordered": lambda: OrderedDict(a=1),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NOT_OURS)
def test_what_no_checkpoint_holds_is_refused(name):
    with pytest.raises(ValueError, match=r".") as refused:
        read(saved({"x": NOT_OURS[name]()}))
    assert len(str(refused.value).splitlines()) == 1


def test_a_dict_in_two_places_is_refused():
    shared = {"a": 1}
    with pytest.raises(ValueError, match="two places"):
        read(saved({"x": shared, "y": shared}))


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def refused_cheaply(data: bytes, words: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=words):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 2**24 + 20 * len(data)
    finally:
        tracemalloc.stop()


def test_a_zip_bomb_is_refused_before_it_costs_memory():
    bomb = packed(
        {**members(saved({"x": 1})), "archive/data/0": bytes(10**8)}, zipfile.ZIP_DEFLATED
    )
    assert len(bomb) < 10**6
    refused_cheaply(bomb, "compressed")


def test_a_description_larger_than_any_of_ours_is_refused_unread():
    refused_cheaply(saved({"x": [{} for _ in range(10**6)]}), "larger than any of ours")


def test_a_file_that_is_mostly_no_member_is_refused_before_it_is_summed():
    refused_cheaply(bytes(10**6) + saved({"x": 1}), "far longer than what it holds")


def test_members_that_share_bytes_are_refused():
    data = bytearray(packed(members(saved({"x": torch.arange(100_000)}))))
    end = data.rindex(b"PK\x05\x06")
    (count,), (start,) = (
        struct.unpack_from("<H", data, end + 10),
        struct.unpack_from("<I", data, end + 16),
    )
    table = bytes(data[start:end])
    at = table.index(b"archive/data/0") - 46
    length = 46 + sum(struct.unpack_from("<3H", table, at + 28))
    again = b"".join(
        table[at : at + length].replace(b"archive/data/0", b"archive/data/%d" % n)
        for n in range(1, 9)
    )
    tail = bytearray(data[end:])
    struct.pack_into("<HHI", tail, 8, count + 8, count + 8, len(table) + len(again))
    refused_cheaply(bytes(data[:start]) + table + again + bytes(tail), "more data")


def renamed(data: bytes, change) -> bytes:
    """The file with another pickle."""
    files = members(data)
    return packed(files | {"archive/data.pkl": change(files["archive/data.pkl"])})


def test_a_tensor_beyond_its_storage_is_refused():
    data = saved({"x": torch.arange(7)})
    for size in (8, 255):
        # BININT1 7 is the count of the storage and the size of the tensor.
        change = renamed(data, lambda p, size=size: p.replace(b"K\x07", bytes([75, size])))
        refused_cheaply(change, "beyond its storage")


def test_one_storage_for_many_tensors_is_refused():
    large = torch.arange(10_000)
    refused_cheaply(
        saved({f"{n}": large.view(100, 100) for n in range(99)}), "larger than the file"
    )


class Called:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    "call", [(bytearray, 10**12), (torch.empty, 10**12), (print, "x"), (torch.device, "cpu")]
)
def test_nothing_is_called(call, capsys):
    pickled = pickle.dumps({"x": Called(*call)}, protocol=2)
    refused_cheaply(renamed(saved({}), lambda _: pickled), "which no checkpoint of ours")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b"\x80\x02.",
        b"\x80\x02}",
        b"\x80\x02}}.",
        b"\x80\x04}.",
        b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".",
        b"\x80\x02(" * 100 + b"t" * 100 + b".",
        b"\x80\x02]q\x00h\x00a.",
        b"\x80\x02X\xff\xff\xff\xffab.",
        b"\x80\x02h\x05.",
        b"\x80\x02e.",
        b"\x80\x02K\x01K\x01s.",
        b"\x80\x02Q.",
        b"\x80\x02R.",
        b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.",
        b"\x80\x02c\xff\xfe\nx\n.",
        b"I99999\n.",
        b"\x80\x02\x8b\xff\xff\xff\x7fx.",
    ],
)
def test_a_pickle_that_is_none_of_ours_is_refused(pickled):
    refused_cheaply(renamed(saved({}), lambda _: pickled), r".")


def test_flipped_bytes_never_end_in_anything_but_a_refusal():
    """None of the 3000 files with changed bytes ends in another error."""
    data, draw, read_through = saved(TREE | {"many": {}}), random.Random(0), 0
    for _ in range(3000):
        broken = bytearray(data)
        for _ in range(draw.choice([1, 1, 2, 5])):
            broken[draw.randrange(len(broken))] = draw.randrange(256)
        try:
            read(bytes(broken[: draw.choice([len(data), draw.randrange(len(data))])]))
            read_through += 1
        except ValueError:
            pass
    assert 0 < read_through < 2500  # a byte of a tensor is what it is


def test_a_key_that_no_storage_has():
    with pytest.raises(ValueError, match="no storage"):
        read(packed({k: v for k, v in members(saved(TREE)).items() if not k.endswith("data/0")}))


def test_shapes_without_an_element_reach_nowhere():
    assert Stored("0", "int64", 8, 0, (0, 2**61), (1, 1)).extent == 0
