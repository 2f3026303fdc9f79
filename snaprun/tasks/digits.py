"""Images read as sequences, as numbers or as spikes; the class is asked for at the end."""

from collections.abc import Iterator
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from snaprun.checks import UserError, at_least, one_of, refuse
from snaprun.losses import Accuracy, SoftmaxCrossEntropy
from snaprun.seeding import stream
from snaprun.tasks import coding
from snaprun.tasks.base import Batch, Task
from snaprun.tasks.coding import Code
from snaprun.tasks.images import CLASSES, Data, load_folder, load_images

By = Literal["pixel", "row", "image"]
LANES = 100  # of a held-out batch, at most
PERMUTATION_SEED = 0  # of task.permute, the same for every run


class Digits(Task):
    """Read an image as a sequence, then say which of ten classes it shows.

        by=row:    x_t ∈ [0, 1]^columns is row t,    T = rows
        by=pixel:  x_t ∈ [0, 1] is one pixel, row after row,    T = rows × columns
        by=image:  x_t ∈ [0, 1]^(rows × columns) is the whole image at every step,    T = steps
        target at the last step alone: the class

    `code` says what the network is given of x_t: `grey`, the numbers themselves; `poisson`, spikes
    of that chance; `threshold`, the spikes of `neurons` neurons a pixel, each of which spikes when
    the value crosses its threshold between two steps (Bellec et al. 2018, arXiv 1803.09574); or
    `latency`, with by=image, one spike a pixel, earlier the brighter it is.

    `data` is `digits` (scikit-learn's 1,797 handwritten digits of 8 × 8 pixels), `mnist` or
    `fashion` (MNIST and Fashion-MNIST, 70,000 images of 28 × 28), whose four IDX files are read
    from `folder` if it is given and otherwise downloaded once. permute=true shuffles the pixels,
    all images in the same way, before they are cut into steps. A batch has random images. Held out
    are the test files of MNIST and Fashion-MNIST, and of scikit-learn's digits, which come without
    a split, 297 drawn once for all runs; their writers are in the training part, too.
    Raises UserError if scikit-learn is not installed, or a file is missing, damaged or cannot be
    downloaded.

    Source: Le, Jaitly & Hinton 2015, arXiv 1504.00941 (MNIST pixel by pixel, and permuted).

    >>> import torch
    >>> from snaprun.tasks import TASKS
    >>> batch = TASKS["digits"](data="digits", by="row").batch(3, torch.Generator())
    >>> tuple(batch.inputs.shape), batch.mask.sum(1).tolist()
    ((8, 3, 8), [0, 0, 0, 0, 0, 0, 0, 3])
    >>> spikes = TASKS["digits"](by="pixel", code="threshold", neurons=20)
    >>> spikes.inputs, spikes.steps()
    (20, 64)
    """

    one_hot = False
    outputs = CLASSES
    loss = SoftmaxCrossEntropy(bits=False)
    measures = (Accuracy(),)
    held_out_lanes = LANES
    files: ClassVar = {"folder": "data_sha256"}

    def __init__(
        self,
        data: Data = "digits",
        by: By = "row",
        permute: bool = False,
        folder: str | None = None,
        code: Code = "grey",
        neurons: int = 80,
        steps: int = 16,
    ) -> None:
        one_of("task.data", data, get_args(Data))
        by = one_of("task.by", by, get_args(By))
        self._code = one_of("task.code", code, get_args(Code))
        self._neurons = at_least("task.neurons", neurons, 1)
        self._repeated = at_least("task.steps", steps, 1) if by == "image" else 1
        if code == "latency" and by != "image":
            refuse("task.code", code, "grey, threshold or poisson", "latency needs task.by=image.")
        images = load_images(data, folder)
        count, rows, columns = images.pixels.shape
        pixels_NP = images.pixels.reshape(count, rows * columns)
        if permute:
            generator = torch.Generator().manual_seed(PERMUTATION_SEED)
            pixels_NP = pixels_NP[:, torch.randperm(rows * columns, generator=generator)]
        width = {"row": columns, "pixel": 1, "image": rows * columns}[by]
        self.inputs = width * (neurons if code == "threshold" else 1)
        self._pixels_NTa = pixels_NP.reshape(count, -1, width)
        self._labels_N, self._white = images.labels, images.white
        self._train = count - images.held_out
        self._facts = {
            "data": data,
            "data_source": images.source,
            "data_sha256": images.sha256,
            "train_images": self._train,
            "held_out_images": images.held_out,
        }

    def batch(self, lanes: int, generator: torch.Generator) -> Batch:
        """Return one training image for each lane, drawn uniformly with replacement."""
        images_B = torch.randint(0, self._train, (lanes,), generator=generator)
        return self._sequences(images_B, generator)

    def _sequences(self, images_B: Tensor, generator: torch.Generator) -> Batch:
        grey_TBI = self._pixels_NTa[images_B].transpose(0, 1).float() / self._white
        inputs = self._coded(grey_TBI.repeat(self._repeated, 1, 1), generator)  # (T, B, a)
        mask = torch.zeros(inputs.shape[:2], dtype=torch.bool)
        resets, targets = torch.zeros_like(mask), torch.zeros(mask.shape, dtype=torch.int64)
        mask[-1] = resets[0] = True
        targets[-1] = self._labels_N[images_B]
        return Batch(inputs, targets, mask, resets)

    def _coded(self, grey_TBI: Tensor, generator: torch.Generator) -> Tensor:
        if self._code == "threshold":
            return coding.threshold(grey_TBI, self._neurons)
        if self._code == "poisson":
            return coding.poisson(grey_TBI, generator)
        return coding.latency(grey_TBI) if self._code == "latency" else grey_TBI

    def steps(self) -> int:
        """Return the number of rows, of pixels, or `steps`."""
        return self._pixels_NTa.shape[1] * self._repeated

    def validation(self, tokens: int | None) -> Iterator[Batch]:
        """Return each held-out image once, in their order, about `tokens` tokens of them."""
        last = len(self._pixels_NTa)
        if tokens is not None:
            last = min(last, self._train + max(1, tokens // self.steps()))
        generator = stream(0, "held_out")
        held_out = torch.arange(self._train, last).split(LANES)
        return (self._sequences(images_B, generator) for images_B in held_out)

    def facts(self) -> dict[str, object]:
        """Return the images' name, source and sha256, and how many of them train and test."""
        return dict(self._facts)

    @classmethod
    def sha256(cls, name: str) -> str | None:
        """Return the sha256 of the images in the folder `name`, or None if they cannot be read."""
        try:
            return load_folder(name).sha256
        except UserError:
            return None
