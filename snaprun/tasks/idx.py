"""IDX files, the format of MNIST: arrays of bytes behind a header of big-endian integers."""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snaprun.checks import UserError


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Return the array of an IDX file of unsigned bytes; a name that ends in .gz is unpacked.

        0, 0, 8 (unsigned bytes), dimensions;  the size of each, 4 bytes, big-endian;  the bytes

    Raises UserError if the file cannot be read, has another magic number or number of dimensions,
    or has more or fewer bytes than its header says.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "labels")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(path, dimensions=1).tolist()
    [7, 2, 1]
    """
    try:
        if not path.is_file():  # opening a pipe would wait for its other end
            raise FileNotFoundError(2, os.strerror(2))
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read ({reason}): put a whole IDX file there.") from error
    header = 4 + 4 * dimensions
    magic = bytes([0, 0, 8, dimensions])
    if data[:4] != magic:
        raise UserError(
            f"{path} begins with the bytes {data[:4].hex(' ') or 'of an empty file'}: expected "
            f"{magic.hex(' ')}, an IDX file of unsigned bytes in {dimensions} dimension(s)."
        )
    sizes = [int(size) for size in np.frombuffer(data[4:header].ljust(header - 4, b"\0"), ">u4")]
    if len(data) != header + math.prod(sizes):
        raise UserError(
            f"{path} has {len(data)} bytes: expected {header + math.prod(sizes)}, a header of "
            f"{header} and {' × '.join(map(str, sizes))}. The file is damaged: get it again."
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(sizes)
