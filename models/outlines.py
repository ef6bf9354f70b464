"""Outlines of the twelve things, as polygons in the plane.

Every function takes a random generator and returns a list of (points, filled)
pairs, drawn in order: filled ones add to the shape, the others cut a hole.
Points are an array [n, 2] within the unit circle (about), y pointing down.
"""

from __future__ import annotations

import numpy as np

Polygons = list[tuple[np.ndarray, bool]]


def polar(angles: np.ndarray, radii: np.ndarray | float) -> np.ndarray:
    """Points from angles (radians) and radii."""
    return np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=1)


def round_line(radius: float, points: int = 72) -> np.ndarray:
    return polar(np.linspace(0, 2 * np.pi, points, endpoint=False), radius)


def regular(corners: int) -> np.ndarray:
    return polar(np.arange(corners) * 2 * np.pi / corners, 1.0)


def disc(rng: np.random.Generator) -> Polygons:
    return [(round_line(0.95), True)]


def ring(rng: np.random.Generator) -> Polygons:
    return [(round_line(0.97), True), (round_line(rng.uniform(0.45, 0.74)), False)]


def square(rng: np.random.Generator) -> Polygons:
    points = regular(4)
    points[[0, 2]] *= rng.uniform(0.94, 1.0)
    return [(points, True)]


def triangle(rng: np.random.Generator) -> Polygons:
    points = regular(3)
    points[0] *= rng.uniform(0.85, 1.15)
    return [(points - points.mean(axis=0), True)]


def star(rng: np.random.Generator) -> Polygons:
    radii = np.tile([1.0, rng.uniform(0.38, 0.52)], 5)
    return [(polar(np.arange(10) * np.pi / 5, radii), True)]


def cross(rng: np.random.Generator) -> Polygons:
    a = rng.uniform(0.2, 0.34)  # half the width of an arm
    b = rng.uniform(0.88, 0.96)
    points = [(a, b), (a, a), (b, a), (b, -a), (a, -a), (a, -b),
              (-a, -b), (-a, -a), (-b, -a), (-b, a), (-a, a), (-a, b)]
    return [(np.array(points), True)]


def hexagon(rng: np.random.Generator) -> Polygons:
    return [(regular(6), True)]


def heart(rng: np.random.Generator) -> Polygons:
    t = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return [(np.stack([x, (y - 2.5) * rng.uniform(0.95, 1.15)], axis=1) / 17, True)]


def crescent(rng: np.random.Generator) -> Polygons:
    shift = rng.uniform(0.38, 0.58)
    bite = round_line(rng.uniform(0.74, 0.84)) + [shift, 0]
    return [(round_line(0.95), True), (bite, False)]


def arrow(rng: np.random.Generator) -> Polygons:
    shaft = rng.uniform(0.13, 0.24)  # half its width
    head = rng.uniform(0.5, 0.68)  # half its width
    neck = rng.uniform(-0.05, 0.25)  # where the head begins
    points = [(-0.95, -shaft), (neck, -shaft), (neck, -head), (0.98, 0.0),
              (neck, head), (neck, shaft), (-0.95, shaft)]
    return [(np.array(points), True)]


def spiral(rng: np.random.Generator) -> Polygons:
    turns = rng.uniform(2.1, 3.0)
    t = np.linspace(0.06, 1, 110)
    pitch = 0.9 / turns
    half = pitch * rng.uniform(0.2, 0.29)
    direction = rng.choice([-1.0, 1.0])
    angles = direction * t * turns * 2 * np.pi
    outer = polar(angles, t * 0.9 + half)
    inner = polar(angles, np.maximum(t * 0.9 - half, 0.0))
    return [(np.concatenate([outer, inner[::-1]]), True)]


def gear(rng: np.random.Generator) -> Polygons:
    teeth = int(rng.integers(8, 14))
    root = rng.uniform(0.74, 0.82)
    pitch = 2 * np.pi / teeth
    corners = np.array([-0.28, -0.18, 0.18, 0.28]) * pitch
    angles = (np.arange(teeth)[:, None] * pitch + corners).ravel()
    radii = np.tile([root, 0.98, 0.98, root], teeth)
    return [(polar(angles, radii), True), (round_line(rng.uniform(0.18, 0.42)), False)]


OUTLINES = [disc, ring, square, triangle, star, cross,
            hexagon, heart, crescent, arrow, spiral, gear]
CLASS_NAMES = [outline.__name__ for outline in OUTLINES]
