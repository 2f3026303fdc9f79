"""Digits as spikes: each code against its definition, pixel by pixel."""

import pytest
import torch

from snaprun.checks import UserError
from snaprun.tasks import coding
from snaprun.tasks.digits import Digits
from tests.cases import rng


@pytest.mark.parametrize("neurons", [1, 4, 7])
def test_a_neuron_spikes_where_its_threshold_lies_between_two_values(neurons):
    x_TBI = torch.rand(9, 2, 3, generator=rng())
    found = coding.threshold(x_TBI, neurons).unflatten(2, (3, neurons))
    for t in range(9):
        for lane in range(2):
            for pixel in range(3):
                now = float(x_TBI[t, lane, pixel])
                before = float(x_TBI[t - 1, lane, pixel]) if t else 0.0
                for n in range(neurons):
                    level = (n + 0.5) / neurons
                    crossed = min(before, now) < level < max(before, now)
                    assert found[t, lane, pixel, n] == crossed


def test_poisson_spikes_come_with_the_chance_of_the_grey_value():
    x_TBI = torch.rand(1, 1, 20, generator=rng()).expand(4000, 5, 20)
    found = coding.poisson(x_TBI, rng(1))
    assert set(found.unique().tolist()) == {0.0, 1.0}
    bound = 5 * (x_TBI[0, 0] * (1 - x_TBI[0, 0]) / 20000).sqrt()
    assert ((found.mean((0, 1)) - x_TBI[0, 0]).abs() < bound).all()


@pytest.mark.parametrize("steps", [1, 2, 16])
def test_a_brighter_pixel_spikes_no_later_and_once(steps):
    x_I = torch.cat((torch.zeros(1), torch.rand(30, generator=rng()).sort().values, torch.ones(1)))
    found = coding.latency(x_I.expand(steps, 1, -1))[:, 0]
    assert found.sum(0).tolist() == [0.0] + [1.0] * 31
    when = found.argmax(0)[1:]
    assert (when.diff() <= 0).all()
    assert when[-1] == 0
    assert (when == ((1 - x_I[1:]) * (steps - 1)).round()).all()


@pytest.mark.parametrize("code", ["grey", "poisson", "threshold", "latency"])
def test_an_image_is_seen_at_every_step(code):
    task = Digits(by="image", steps=5, code=code, neurons=3)
    batch, grey = task.batch(4, rng()), Digits(by="image", steps=5).batch(4, rng())
    assert batch.inputs.shape == (5, 4, task.inputs)
    assert torch.equal(batch.targets, grey.targets)
    assert batch.mask.sum(0).tolist() == [1] * 4
    assert batch.mask[-1].all()
    x_TBI = grey.inputs
    assert torch.equal(x_TBI, x_TBI[:1].expand_as(x_TBI))
    if code == "threshold":  # a still image crosses its thresholds at once
        assert torch.equal(batch.inputs[0], coding.threshold(x_TBI, 3)[0])
        assert not batch.inputs[1:].any()
    if code == "latency":
        assert torch.equal(batch.inputs.sum(0), (x_TBI[0] > 0).float())
    if code == "poisson":
        assert not batch.inputs[:, x_TBI[0] == 0].any()


def test_held_out_spikes_are_the_same_at_every_call():
    task = Digits(code="poisson")
    first, second = (list(task.validation(200)) for _ in range(2))
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"code": "morse"}, "grey, threshold, poisson, latency"),
        ({"code": "latency"}, "task.by=image"),
        ({"code": "threshold", "neurons": 0}, "task.neurons"),
        ({"by": "image", "steps": 0}, "task.steps"),
    ],
)
def test_wrong_keys_are_refused(keys, named):
    with pytest.raises(UserError, match=named):
        Digits(**keys)
