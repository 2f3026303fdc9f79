"""Products with the dynamics Jacobian D, equation (2), and the immediate Jacobian I, equation (3).

Every product needs only the slopes, sources and weights of a Record. In a stack of layers, layer
l + 1 reads h^l(t) of the same step, so that D and I are those of the whole system,

    D = (1 − E)^-1 D°,    I = (1 − E)^-1 I°,    E^(l+1) = ∂s^(l+1)(t)/∂h^l(t),

with D° and I° of each layer alone. Shape suffixes as in core/recurrent.py.
"""

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor
from torch.func import vmap

from snaprun.core.recurrent import Record
from snaprun.sparsity import Layout


def pass_up(record: Record, v_BCK: Tensor) -> Tensor:
    """Returns (1 − E)^-1 v, which adds to v in each layer what the layers below pass to it."""
    for below, above in pairwise(record.layers):
        weights_MKV = record.weights_MKJ[:, above.units, above.inputs]
        pre_BMK = torch.einsum("muv,bv->bmu", weights_MKV, v_BCK[:, 0, below.units])
        v_BCK = v_BCK.clone()
        v_BCK[:, :, above.units] += (record.dsda_BCMK[..., above.units] * pre_BMK[:, None]).sum(2)
    return v_BCK


def pass_down(record: Record, credit_BCK: Tensor) -> Tensor:
    """Returns λ (1 − E)^-1, which adds to λ in each layer the exact credit of the layers above."""
    for above, below in pairwise(reversed(record.layers)):
        weights_MKV = record.weights_MKJ[:, above.units, above.inputs]
        slopes_BCMK = record.dsda_BCMK[..., above.units]
        slot_BMK = (credit_BCK[:, :, None, above.units] * slopes_BCMK).sum(1)
        credit_BCK = credit_BCK.clone()
        credit_BCK[:, 0, below.units] += torch.einsum("muv,bmu->bv", weights_MKV, slot_BMK)
    return credit_BCK


def passed_down(record: Record) -> Record:
    """Returns the record with the credit δ (1 − E)^-1 instead of δ."""
    if record.credit_BCK is None or len(record.layers) == 1:
        return record
    return replace(record, credit_BCK=pass_down(record, record.credit_BCK))


def _up_columns(record: Record, columns_BSX: Tensor) -> Tensor:
    """Returns (1 − E)^-1 times a matrix whose rows are states, shape (B, S, X)."""
    if len(record.layers) == 1:
        return columns_BSX
    components, _, units = record.dsda_BCMK.shape[1:]
    by_column = columns_BSX.unflatten(1, (components, units))
    return vmap(partial(pass_up, record), in_dims=3, out_dims=3)(by_column).flatten(1, 2)


def dynamics(record: Record) -> Tensor:
    """Returns the dynamics Jacobian of equation (2) as a dense array, shape (B, S, S).

    D_(p,u),(q,v) = ∂s'_pu/∂s_qu·[u=v] + [q=0] Σ_m ∂s'_pu/∂a_mu U_muv
    """
    lanes, components, _, units = record.dsda_BCMK.shape
    D = record.src_BJ.new_zeros(lanes, components, units, components, units)
    D[:, :, :, 0] = torch.einsum("bpmu,muv->bpuv", record.dsda_BCMK, record.recurrent_MKK)
    D.diagonal(dim1=2, dim2=4).add_(record.dsds_BCCK)
    return _up_columns(record, D.reshape(lanes, components * units, components * units))


def immediate(record: Record, layout: Layout) -> Tensor:
    """Returns the immediate Jacobian of equation (3) as a dense array, shape (B, S, P).

    I_(p,u),(m,u,j) = ∂s'_pu/∂a_mu · src_j
    """
    lanes, components, _, units = record.dsda_BCMK.shape
    rows_BCP = (
        record.dsda_BCMK[:, :, layout.slot_P, layout.unit_P]
        * record.src_BJ[:, None, layout.source_P]
    )
    I = rows_BCP.new_zeros(lanes, components, units, layout.size)
    I[:, :, layout.unit_P, torch.arange(layout.size, device=layout.unit_P.device)] = rows_BCP
    return _up_columns(record, I.flatten(1, 2))


def dynamics_jvp(record: Record, v_BCK: Tensor) -> Tensor:
    """Returns D v, shape (B, c, k), without forming D."""
    pre_BMK = (v_BCK[:, 0] @ record.recurrent_MKK.flatten(0, 1).T).unflatten(
        1, record.recurrent_MKK.shape[:2]
    )
    through_slots = (record.dsda_BCMK * pre_BMK.unsqueeze(1)).sum(2)
    return pass_up(record, through_slots + (record.dsds_BCCK * v_BCK.unsqueeze(1)).sum(2))


def slot_vjp(record: Record, credit_BCK: Tensor) -> Tensor:
    """Returns the credit of each pre-activation, λ (1 − E)^-1 ∂s'/∂a, shape (B, m, k)."""
    return _by_slot(record, pass_down(record, credit_BCK))


def dynamics_vjp(record: Record, credit_BCK: Tensor) -> Tensor:
    """Returns λ D, shape (B, c, k), without forming D."""
    passed_BCK = pass_down(record, credit_BCK)
    to_state = (passed_BCK.unsqueeze(2) * record.dsds_BCCK).sum(1)
    slot_BMK = _by_slot(record, passed_BCK)
    to_state[:, 0] += slot_BMK.flatten(1) @ record.recurrent_MKK.flatten(0, 1)
    return to_state


def _by_slot(record: Record, passed_BCK: Tensor) -> Tensor:
    return (passed_BCK.unsqueeze(2) * record.dsda_BCMK).sum(1)


def input_vjp(record: Record, credit_BCK: Tensor) -> Tensor:
    """Returns λ ∂s'/∂x, shape (B, a): the exact derivative of this step by its input."""
    first = record.layers[0]
    weights_MKA = record.weights_MKJ[:, first.units, first.inputs]
    return torch.einsum("mua,bmu->ba", weights_MKA, slot_vjp(record, credit_BCK)[..., first.units])


def immediate_vjp(record: Record, layout: Layout, credit_BCK: Tensor) -> Tensor:
    """Returns λ I of every lane, shape (B, P), without forming I."""
    pre_BMK = slot_vjp(record, credit_BCK)
    return pre_BMK[:, layout.slot_P, layout.unit_P] * record.src_BJ[:, layout.source_P]


@dataclass(frozen=True)
class DynamicsEntries:
    """A list of E entries ((p, u), (q, v)) of D°, computed without forming the S × S matrix.

    `recurrent` lists the entries with q = 0, and `local` the entries with u = v. The entries of E
    between layers are of the first kind, with h(t) in the place of h(t-1).
    """

    size: int
    units: int
    recurrent: Tensor  # int64 (E_r,): which entries
    slope_row: Tensor  # int64 (E_r,): p·k + u
    slope_unit: Tensor  # int64 (E_r,): u
    source: Tensor  # int64 (E_r,): the source h_v
    local: Tensor  # int64 (E_l,): which entries
    local_slope: Tensor  # int64 (E_l,): index of ∂s'_pu/∂s_qu in the flattened (c·c·k)

    @classmethod
    def of(
        cls, rows_E: Tensor, columns_E: Tensor, units: int, components: int, first: int = 0
    ) -> "DynamicsEntries":
        """Lists the entries (rows_E[i], columns_E[i]) of the S × S matrix.

        `first` is the source of unit 0: 0 for the entries of D°.
        """
        p, u = rows_E // units, rows_E % units
        q, v = columns_E // units, columns_E % units
        recurrent = (q == 0).nonzero().squeeze(1)
        local = (u == v).nonzero().squeeze(1)
        return cls(
            size=len(rows_E),
            units=units,
            recurrent=recurrent,
            slope_row=rows_E[recurrent],
            slope_unit=u[recurrent],
            source=first + v[recurrent],
            local=local,
            local_slope=((p * components + q) * units + u)[local],
        )

    def values(self, record: Record) -> Tensor:
        """Returns the listed entries of equation (2), shape (B, E)."""
        lanes = len(record.src_BJ)
        slots = record.dsda_BCMK.shape[2]
        by_row = record.dsda_BCMK.transpose(2, 3).reshape(lanes, -1, slots)  # (B, S, m)
        weights = record.weights_MKJ[:, self.slope_unit, self.source].T  # (E_r, m)
        D_BE = record.src_BJ.new_zeros(lanes, self.size)
        D_BE[:, self.recurrent] = (by_row[:, self.slope_row] * weights).sum(2)
        D_BE[:, self.local] += record.dsds_BCCK.reshape(lanes, -1)[:, self.local_slope]
        return D_BE
