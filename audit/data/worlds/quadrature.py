"""Integrals over normal distributions that truths need."""

from __future__ import annotations

import math

import numpy as np

from audit.core import Floats

FAR = 9.0  # standard deviations beyond which nothing is integrated


def hermite(nodes: int) -> tuple[Floats, Floats]:
    """Nodes and weights of N(0, 1), the weights summing to one."""
    z, mass = np.polynomial.hermite_e.hermegauss(nodes)
    return z, mass / mass.sum()


def even(nodes: int) -> tuple[Floats, Floats]:
    """An even grid over N(0, 1) and its weights, summing to one: for smooth functions, however steep, as the grid is fine."""
    z = np.linspace(-FAR, FAR, nodes)
    mass = density(z)
    return z, mass / mass.sum()


def sigmoid(logit: Floats) -> Floats:
    """1 / (1 + e^-logit), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(logit))))


def density(z: Floats) -> Floats:
    """The density of N(0, 1)."""
    return np.asarray(np.exp(-(np.asarray(z) ** 2) / 2) / math.sqrt(2 * math.pi))


def sides(mean: Floats, sd: Floats) -> tuple[Floats, Floats]:
    """Nodes (2, k, 48) of N(mean, sd²) (k,) below and above 0, and their masses, by Gauss-Legendre on either side."""
    nodes, mass = np.polynomial.legendre.leggauss(48)
    edge = np.clip(-mean / sd, -FAR, FAR)
    ends = np.stack([np.full_like(edge, -FAR), edge, np.full_like(edge, FAR)])
    half = np.diff(ends, axis=0)[..., None] / 2
    z = (ends[1:] + ends[:-1])[..., None] / 2 + half * nodes
    return mean[:, None] + sd[:, None] * z, mass * half * density(z)


def correlated(u: tuple[float, float], v: tuple[float, float], correlation: float) -> float:
    """P(u_low < U <= u_high, v_low < V <= v_high) of two standard normals, by 128 nodes over U."""
    from scipy.special import ndtr

    low, high = max(u[0], -FAR), min(u[1], FAR)
    if low >= high:
        return 0.0
    nodes, mass = np.polynomial.legendre.leggauss(128)
    at = (high + low) / 2 + (high - low) / 2 * nodes
    rest = math.sqrt(1 - correlation**2)
    inside = ndtr((v[1] - correlation * at) / rest) - ndtr((v[0] - correlation * at) / rest)
    return float((mass * (high - low) / 2 * density(at) * inside).sum())


def spread_nodes(mean: Floats, sd: Floats, weight: Floats, points: int = 801) -> tuple[Floats, Floats]:
    """A mixture of N(mean, sd²) (k,) with these weights as nodes (k, points) and their masses, a grid for each part."""
    z = np.linspace(-8.0, 8.0, points)
    mass = density(z)
    return mean[:, None] + sd[:, None] * z, weight[:, None] * (mass / mass.sum())
