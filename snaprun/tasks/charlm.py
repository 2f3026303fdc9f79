"""Next-byte prediction on a text."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from snaprun.checks import at_least, one_of, refuse, within
from snaprun.losses.softmax import BPC, VALIDATION
from snaprun.tasks.base import Batch, Task, require_lanes
from snaprun.tasks.text import Bytes, Corpus, load_text, sha256

Mode = Literal["crops", "stream"]
CROP_LANES = 512  # validation lanes of mode=crops, at most
STREAM_LANES = 64  # validation lanes of mode=stream, at most


class CharLM(Task):
    """Predict byte i + 1 of a text from the bytes up to i; one-hot, 256 classes.

    mode=crops: every lane is a random crop of `crop` steps and begins with a reset. mode=stream:
    B lanes read on without end, `crop` steps a minibatch; lane b starts at byte b·⌊N/B⌋ of the N
    training bytes. A lane is reset at the first step of the run, and when it returns from the end
    of the text to the beginning, because byte 0 cannot be predicted from the last byte.

    The held-out text is `valid_text`, else the corpus's own validation part, else the last
    `valid_fraction` of the text (0: none); it is read in the mode of the training text. `text` and
    `valid_text` are `pydoc`, `wikitext103` or the path of a file or a folder (snaprun.tasks.text).
    Raises UserError if a text has fewer than crop + 1 bytes.

    >>> import torch
    >>> from snaprun.tasks import CharLM
    >>> batch = CharLM(text="pydoc", crop=8).batch(lanes=3, generator=torch.Generator())
    >>> tuple(batch.inputs.shape), torch.equal(batch.inputs[1:], batch.targets[:-1])
    ((8, 3), True)
    """

    inputs = 256
    outputs = 256
    declared = (BPC, VALIDATION)
    held_out_lanes = max(CROP_LANES, STREAM_LANES)
    length_key = "crop"
    files: ClassVar = {"text": "text_sha256", "valid_text": "valid_text_sha256"}

    def __init__(
        self,
        text: str = "pydoc",
        valid_text: str | None = None,
        mode: Mode = "crops",
        crop: int = 128,
        valid_fraction: float = 0.05,
    ) -> None:
        self.mode = one_of("task.mode", mode, get_args(Mode))
        self.crop = at_least("task.crop", crop, 1)
        within("task.valid_fraction", valid_fraction, 0.0, 1.0, open_high=True)

        corpus = load_text(text)
        train, valid = corpus.train, corpus.valid
        self._facts = _facts("text", text, corpus)
        valid_what, valid_name = "task.text", text
        if valid_text is not None:
            valid_what, valid_name = "task.valid_text", valid_text
            held_out = load_text(valid_text, valid_what)
            valid = held_out.train if held_out.valid is None else held_out.valid
            self._facts |= _facts("valid_text", valid_text, held_out)
        elif valid is None and valid_fraction > 0:
            cut = len(train) - int(len(train) * valid_fraction)
            train, valid = train[:cut], train[cut:]

        _require("task.text", text, train, self.crop + 1, "training (task.crop + 1)")
        if valid is not None:
            _require(valid_what, valid_name, valid, self.crop + 1, "validation (task.crop + 1)")
        self._train: Bytes = train
        self._valid: Bytes | None = valid
        self._facts["train_bytes"] = len(train)
        self._facts["valid_bytes"] = 0 if valid is None else len(valid)
        self._text = text
        self._positions: Tensor | None = None  # (B,) int64: the next input of each stream lane

    def batch(self, lanes: int, generator: torch.Generator) -> Batch:
        """Return `crop` steps of `lanes` lanes: random crops, or the continuation of the stream."""
        if self.mode == "crops":
            starts = torch.randint(0, len(self._train) - self.crop, (lanes,), generator=generator)
            return _window(self._train, starts, self.crop, reset=True)
        self.prepare(lanes)
        first = self._positions is None
        if self._positions is None:
            self._positions = torch.arange(lanes) * (len(self._train) // lanes)
        # The last byte is only ever a target, so the inputs form a ring of N - 1.
        ring = len(self._train) - 1
        batch = _window(self._train, self._positions, self.crop, reset=first, ring=ring)
        self._positions = (self._positions + self.crop) % ring
        return batch

    def steps(self) -> int:
        """Return `crop`."""
        return self.crop

    def prepare(self, lanes: int) -> None:
        """Raise UserError if the text is too short for `lanes`, or the stream began with others."""
        if self.mode == "crops":
            return
        need = lanes * (self.crop + 1)
        purpose = f"training with train.lanes={lanes} (lanes × (task.crop + 1))"
        _require("task.text", self._text, self._train, need, purpose)
        require_lanes(lanes, 0 if self._positions is None else len(self._positions))

    def validation(self, tokens: int | None) -> Iterator[Batch] | None:
        """Return batches that predict each held-out byte once, up to about `tokens` of them.

        mode=crops: adjacent crops, at most 512 lanes a batch. mode=stream: at most 64 contiguous
        lanes, reset at the first step only; the last batch may be shorter. The end of the text is
        left out if it is shorter than one crop (or than one byte a lane).
        """
        if self._valid is None:
            return None
        count = len(self._valid) - 1
        if tokens is not None:
            count = min(count, max(tokens, self.crop))
        if self.mode == "stream":
            return self._valid_stream(self._valid, count)
        starts = (torch.arange(count // self.crop) * self.crop).split(CROP_LANES)
        return (_window(self._valid, lanes, self.crop, reset=True) for lanes in starts)

    def _valid_stream(self, text: Bytes, count: int) -> Iterator[Batch]:
        lanes = min(STREAM_LANES, count // self.crop)
        steps = count // lanes
        starts = torch.arange(lanes) * steps
        for done in range(0, steps, self.crop):
            chunk = min(self.crop, steps - done)
            yield _window(text, starts + done, chunk, reset=done == 0)

    def facts(self) -> dict[str, object]:
        """Return the text's name, source and sha256, and the bytes of both parts."""
        return dict(self._facts)

    @classmethod
    def sha256(cls, name: str) -> str | None:
        """Return the sha256 that the text called `name` has now, or None if it cannot be read."""
        return sha256(name)

    def state_dict(self) -> dict[str, Any]:
        """Return the stream's positions (B,); None before the first batch and for mode=crops."""
        return {"positions": self._positions}

    def load_state_dict(self, state: Any, drawn: int | None = None) -> None:
        """Continue the stream at the positions of `state`."""
        if not isinstance(state, dict) or state.keys() != {"positions"}:
            raise ValueError("task mismatch: expected positions.")
        positions = state["positions"]
        begun = isinstance(positions, Tensor)
        wrong = begun != (self.mode == "stream" and drawn != 0)
        if not (begun or positions is None) or (wrong and (begun or drawn is not None)):
            raise ValueError("task.positions mismatch: expected them of a stream that has begun.")
        if begun:
            self._require_positions(positions, drawn)
        self._positions = positions

    def _require_positions(self, positions: Tensor, drawn: int | None) -> None:
        """Raise ValueError unless all lanes are equally far (`drawn` steps) from their starts."""
        lanes, ring = positions.numel(), len(self._train) - 1
        if positions.dtype != torch.int64 or positions.dim() != 1 or not lanes:
            raise ValueError("task.positions mismatch: expected integers, one a lane.")
        away = (positions - torch.arange(lanes) * (len(self._train) // lanes)) % ring
        inside = bool(((positions >= 0) & (positions < ring)).all())
        if not inside or (away != (away[0] if drawn is None else drawn % ring)).any():
            raise ValueError("task.positions mismatch: expected what the steps so far lead to.")


def _facts(key: str, name: str, corpus: Corpus) -> dict[str, object]:
    return {key: name, f"{key}_source": corpus.source, f"{key}_sha256": corpus.sha256}


def _require(what: str, name: str, part: Bytes, need: int, purpose: str) -> None:
    if len(part) < need:
        accepted = f"a text that has at least {need} bytes for {purpose}"
        remedy = "take a longer text, a smaller task.crop or another task.valid_fraction."
        refuse(what, name, accepted, f"That part has {len(part)}: {remedy}")


def _window(text: Bytes, starts: Tensor, steps: int, *, reset: bool, ring: int = 0) -> Batch:
    """Return `steps` steps of one lane for each of `starts` (B,).

    `reset` begins a sequence at step 0 of every lane. With `ring` > 0, positions of inputs are
    taken modulo `ring`, and position 0 always begins a sequence.
    """
    position = torch.arange(steps).unsqueeze(1) + starts  # (T, B) int64
    resets = torch.zeros(position.shape, dtype=torch.bool)
    if ring:
        position %= ring
        resets = position == 0
    if reset:
        resets[0] = True
    index = position.numpy()
    return Batch(
        inputs=torch.from_numpy(text[index].astype(np.int64)),
        targets=torch.from_numpy(text[index + 1].astype(np.int64)),
        mask=torch.ones(position.shape, dtype=torch.bool),
        resets=resets,
    )
