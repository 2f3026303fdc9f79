"""The sources of labelled images: scikit-learn's digits, MNIST and Fashion-MNIST."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from snaprun.checks import UserError, refuse
from snaprun.tasks.download import Asked, WebFile, fetched
from snaprun.tasks.idx import read_idx

Data = Literal["digits", "mnist", "fashion"]
CLASSES = 10
HELD_OUT, SPLIT_SEED = 297, 0  # of scikit-learn's 1,797 images, drawn once with this seed

# In the order that `_from_files` takes them.
NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def _published(folder: str, *sizes_and_sums: tuple[int, str]) -> list[WebFile]:
    return [
        WebFile(f"{folder}/{name}.gz", size, sha256)
        for name, (size, sha256) in zip(NAMES, sizes_and_sums, strict=True)
    ]


PUBLISHED: dict[str, Sequence[WebFile]] = {
    "mnist": _published(
        "https://storage.googleapis.com/cvdf-datasets/mnist",
        (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
    "fashion": _published(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
}


@dataclass(frozen=True)
class Images:
    """Images of N × rows × columns bytes with their labels 0 … 9, the last ones held out."""

    pixels: Tensor  # (N, rows, columns) uint8
    labels: Tensor  # (N,) int64
    held_out: int  # so many at the end
    white: int  # the greatest value that a pixel can have
    source: str

    @property
    def sha256(self) -> str:
        """The hash of all pixels, then all labels."""
        digest = hashlib.sha256(self.pixels.numpy().tobytes())
        digest.update(self.labels.numpy().astype(np.uint8).tobytes())
        return digest.hexdigest()


def load_images(data: Data, folder: str | None = None) -> Images:
    """Return the images called `data`: scikit-learn's digits, or the MNIST or Fashion-MNIST files.

    The four IDX files are read from `folder`, with or without .gz, or downloaded once into the
    user's cache if `folder` is None. Raises UserError if scikit-learn is not installed, or a file
    is missing, damaged or cannot be downloaded.
    """
    if data == "digits":
        if folder is not None:
            refuse("task.folder", folder, "null with task.data=digits", "Set task.data=mnist.")
        return _of_scikit_learn()
    if folder is not None:
        return load_folder(folder)
    files = PUBLISHED[data]
    instead = "put the four files into a folder and pass task.folder=PATH"
    with fetched(files, Asked("task.data", data, instead), data) as paths:
        return _from_files(paths, files[0].url.rpartition("/")[0])


def load_folder(folder: str) -> Images:
    """Return the images of the four IDX files in `folder`; raises UserError, as `load_images`."""
    return _from_files([_found(folder, name) for name in NAMES], folder)


def _of_scikit_learn() -> Images:
    try:
        from sklearn.datasets import load_digits  # pyright: ignore
    except ImportError as error:
        raise UserError(
            "task.data=digits needs the package scikit-learn, which is not installed: "
            "pip install 'snaprun[vision]', or set task.data=mnist."
        ) from error
    flat, classes = load_digits(return_X_y=True)
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(SPLIT_SEED))
    pixels = torch.from_numpy(flat.astype(np.uint8).reshape(-1, 8, 8))[order]
    labels = torch.from_numpy(classes.astype(np.int64))[order]
    return Images(pixels, labels, HELD_OUT, 16, "scikit-learn's load_digits")


def _found(folder: str, name: str) -> Path:
    """Return the path of one of the four files, packed or not."""
    base = Path(folder).expanduser().absolute()
    for path in (base / name, base / f"{name}.gz"):
        if path.exists():
            return path
    accepted = f"a folder that holds {', '.join(NAMES)}, each with or without .gz"
    refuse("task.folder", folder, accepted, f"There is no {name}.")


def _from_files(paths: Sequence[Path], source: str) -> Images:
    pixels = [read_idx(path, 3) for path in paths[::2]]
    labels = [read_idx(path, 1) for path in paths[1::2]]
    for path, images, named in zip(paths[::2], pixels, labels, strict=True):
        if len(images) != len(named) or not images.size:
            raise UserError(
                f"{path} holds {len(images)} images of {images.shape[1]} × {images.shape[2]} and "
                f"the file of labels beside it {len(named)} labels: expected as many, and some."
            )
        if named.max() >= CLASSES:
            raise UserError(
                f"The labels of {path} go up to {named.max()}: expected {CLASSES} classes, 0 to 9."
            )
    train, test = (images.shape[1:] for images in pixels)
    if train != test:
        raise UserError(
            f"{paths[0]} holds images of {train[0]} × {train[1]} and {paths[2]} of "
            f"{test[0]} × {test[1]}: expected one size."
        )
    joined = torch.from_numpy(np.concatenate(pixels))
    classes = torch.from_numpy(np.concatenate(labels).astype(np.int64))
    return Images(joined, classes, len(pixels[1]), 255, source)
