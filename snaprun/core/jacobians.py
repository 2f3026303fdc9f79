"""Products with the dynamics Jacobian D, equation (2), and the immediate Jacobian I, equation (3).

Every product needs only the slopes, sources and weights of a Record. Shape suffixes as in
core/recurrent.py.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from snaprun.core.recurrent import Record
from snaprun.sparsity import Layout


def dynamics(record: Record) -> Tensor:
    """Returns the dynamics Jacobian of equation (2) as a dense array, shape (B, S, S).

    D_(p,u),(q,v) = ∂s'_pu/∂s_qu·[u=v] + [q=0] Σ_m ∂s'_pu/∂a_mu U_muv
    """
    lanes, components, _, units = record.dsda_BCMK.shape
    D = record.src_BJ.new_zeros(lanes, components, units, components, units)
    D[:, :, :, 0] = torch.einsum("bpmu,muv->bpuv", record.dsda_BCMK, record.recurrent_MKK)
    D.diagonal(dim1=2, dim2=4).add_(record.dsds_BCCK)
    return D.reshape(lanes, components * units, components * units)


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
    return I.flatten(1, 2)


def dynamics_jvp(record: Record, v_BCK: Tensor) -> Tensor:
    """Returns D v, shape (B, c, k), without forming D."""
    pre_BMK = (v_BCK[:, 0] @ record.recurrent_MKK.flatten(0, 1).T).unflatten(
        1, record.recurrent_MKK.shape[:2]
    )
    through_slots = (record.dsda_BCMK * pre_BMK.unsqueeze(1)).sum(2)
    return through_slots + (record.dsds_BCCK * v_BCK.unsqueeze(1)).sum(2)


def slot_vjp(record: Record, credit_BCK: Tensor) -> Tensor:
    """Returns the credit of each pre-activation, λ ∂s'/∂a, shape (B, m, k)."""
    return (credit_BCK.unsqueeze(2) * record.dsda_BCMK).sum(1)


def dynamics_vjp(record: Record, credit_BCK: Tensor) -> Tensor:
    """Returns λ D, shape (B, c, k), without forming D."""
    to_state = (credit_BCK.unsqueeze(2) * record.dsds_BCCK).sum(1)
    through_slots = slot_vjp(record, credit_BCK).flatten(1) @ record.recurrent_MKK.flatten(0, 1)
    to_state[:, 0] += through_slots
    return to_state


def immediate_vjp(record: Record, layout: Layout, credit_BCK: Tensor) -> Tensor:
    """Returns λ I of every lane, shape (B, P), without forming I."""
    pre_BMK = slot_vjp(record, credit_BCK)
    return pre_BMK[:, layout.slot_P, layout.unit_P] * record.src_BJ[:, layout.source_P]


@dataclass(frozen=True)
class DynamicsEntries:
    """A list of E entries ((p, u), (q, v)) of D, computed without forming the S × S matrix.

    `recurrent` lists the entries with q = 0, and `local` the entries with u = v.
    """

    size: int
    units: int
    recurrent: Tensor  # int64 (E_r,): which entries
    slope_row: Tensor  # int64 (E_r,): p·k + u
    slope_unit: Tensor  # int64 (E_r,): u
    source_unit: Tensor  # int64 (E_r,): v
    local: Tensor  # int64 (E_l,): which entries
    local_slope: Tensor  # int64 (E_l,): index of ∂s'_pu/∂s_qu in the flattened (c·c·k)

    @classmethod
    def of(
        cls, rows_E: Tensor, columns_E: Tensor, units: int, components: int
    ) -> "DynamicsEntries":
        """Lists the entries (rows_E[i], columns_E[i]) of the S × S matrix."""
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
            source_unit=v[recurrent],
            local=local,
            local_slope=((p * components + q) * units + u)[local],
        )

    def values(self, record: Record) -> Tensor:
        """Returns the listed entries of equation (2), shape (B, E)."""
        lanes = len(record.src_BJ)
        slots = record.dsda_BCMK.shape[2]
        by_row = record.dsda_BCMK.transpose(2, 3).reshape(lanes, -1, slots)  # (B, S, m)
        weights = record.recurrent_MKK[:, self.slope_unit, self.source_unit].T  # (E_r, m)
        D_BE = record.src_BJ.new_zeros(lanes, self.size)
        D_BE[:, self.recurrent] = (by_row[:, self.slope_row] * weights).sum(2)
        D_BE[:, self.local] += record.dsds_BCCK.reshape(lanes, -1)[:, self.local_slope]
        return D_BE
