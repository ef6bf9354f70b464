"""Draws photograph-like scenes: one of twelve things on a cluttered background.

`scene(seed, stream, index, ...)` is a pure function of its arguments: the same
ones give the same picture.  Training, held-out and sample pictures use streams
of their own, so no held-out picture is ever seen in training.

All lengths are shares of the shorter side of the picture unless a name ends in
`_px`, so that a scene looks alike at every size.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from outlines import CLASS_NAMES, OUTLINES

STREAM_TRAINING = 1
STREAM_HELD_OUT = 2
STREAM_SAMPLES = 3

OBJECT_RADIUS = (0.19, 0.42)
TILT_MAX_DEGREES = 42.0
CAMERA_DISTANCE = 4.0  # in object radii
OVERSAMPLING = 2
COLOUR_DISTANCE_MIN = 0.3  # object against what lies behind it, Euclidean in RGB 0-1
OCCLUDED_SHARE_MAX = 0.2

FILTERS = [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.BOX,
           Image.Resampling.HAMMING, Image.Resampling.LANCZOS]


def _upscale(grid: np.ndarray, width: int, height: int) -> np.ndarray:
    image = Image.fromarray(grid.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def noise(rng, width: int, height: int, coarsest: int, octaves: int) -> np.ndarray:
    """Smooth random field of about -1 to 1; `coarsest` is its cells on the shorter side."""
    out = np.zeros((height, width), np.float32)
    side = min(width, height)
    amplitude, total = 1.0, 0.0
    for octave in range(octaves):
        cells = coarsest * 2 ** octave
        shape = (max(2, cells * height // side), max(2, cells * width // side))
        out += amplitude * _upscale(rng.uniform(-1, 1, shape), width, height)
        total += amplitude
        amplitude *= 0.6
    return out / total * 1.6


def _blur(mask: np.ndarray, radius_px: float) -> np.ndarray:
    if radius_px < 0.3:
        return mask
    image = Image.fromarray((mask * 255).round().astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius_px)), np.float32) / 255


def _draw(polygons, width: int, height: int, soften_px: float = 0.0) -> np.ndarray:
    """Coverage 0-1 of polygons given in pixels; `soften_px` rounds the corners."""
    k = OVERSAMPLING
    image = Image.new("L", (width * k, height * k))
    draw = ImageDraw.Draw(image)
    for points, filled in polygons:
        draw.polygon([(x * k, y * k) for x, y in points.tolist()], fill=255 if filled else 0)
    if soften_px > 0.4:
        image = image.filter(ImageFilter.GaussianBlur(soften_px * k))
        image = image.point([min(255, max(0, (v - 128) * 5 + 128)) for v in range(256)])
    return np.asarray(image.reduce(k), np.float32) / 255


def _colour(rng) -> np.ndarray:
    """A random colour: any hue, mostly of medium saturation, not too dark."""
    hue, saturation, value = rng.random(), rng.beta(1.6, 1.6), rng.uniform(0.2, 1.0)
    wheel = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return (value * (1 - saturation * (1 - wheel))).astype(np.float32)


def _mix(image: np.ndarray, colour, share: np.ndarray) -> np.ndarray:
    return image + (colour - image) * share[..., None]


def _coordinates(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    side = min(width, height)
    x = (np.arange(width, dtype=np.float32) - width / 2) / side
    y = (np.arange(height, dtype=np.float32) - height / 2) / side
    return np.meshgrid(x, y)


def _background(rng, width: int, height: int) -> np.ndarray:
    """Wall, wood, tiles, cloth or bare noise, with a gradient and grain."""
    x, y = _coordinates(width, height)
    angle = rng.uniform(0, 2 * np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = -x * np.sin(angle) + y * np.cos(angle)
    a, b = _colour(rng), _colour(rng)
    kind = rng.choice(["gradient", "clouds", "wood", "tiles", "stripes"])
    if kind == "gradient":
        share = np.clip(along * rng.uniform(0.5, 1.5) + 0.5, 0, 1)
    elif kind == "clouds":
        share = np.clip(noise(rng, width, height, int(rng.integers(2, 6)), 4) * 0.8 + 0.5, 0, 1)
    elif kind == "wood":
        grain = noise(rng, width, height, 3, 2)
        share = 0.5 + 0.5 * np.sin((across * rng.uniform(8, 22) + grain * rng.uniform(0.6, 2.0)) * 2 * np.pi)
        b = a + (b - a) * rng.uniform(0.25, 0.6)
    elif kind == "tiles":
        n = rng.uniform(3, 9)
        share = ((np.floor(along * n) + np.floor(across * n)) % 2).astype(np.float32)
        if rng.random() < 0.5:  # joints between equal tiles instead of a chequerboard
            joint = np.minimum((along * n) % 1, (across * n) % 1)
            share = (joint < 0.08).astype(np.float32)
        b = a + (b - a) * rng.uniform(0.3, 0.8)
    else:
        share = 0.5 + 0.5 * np.tanh(3 * np.sin(along * rng.uniform(10, 45)))
        b = a + (b - a) * rng.uniform(0.3, 0.8)
    image = _mix(np.broadcast_to(a, (height, width, 3)), b, share.astype(np.float32))
    image = image + noise(rng, width, height, 4, 4)[..., None] * rng.uniform(0.0, 0.14)
    return image + rng.normal(0, 1, (height, width, 1)).astype(np.float32) * rng.uniform(0, 0.05)


def _clutter(rng, image: np.ndarray, pieces: int) -> np.ndarray:
    """Irregular chips, rods and soft spots, none of them one of the twelve things."""
    height, width, _ = image.shape
    side = min(width, height)
    for _ in range(pieces):
        centre = rng.uniform(0, 1, 2) * (width, height)
        kind = rng.integers(0, 3)
        strength = rng.uniform(0.4, 1.0)
        if kind == 0:
            corners = int(rng.integers(5, 9))
            angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
            radii = rng.uniform(0.3, 1.0, (corners, 1)) * rng.uniform(0.03, 0.14) * side
            points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii + centre
            mask = _draw([(points, True)], width, height)
        elif kind == 1:
            angle = rng.uniform(0, np.pi)
            way = np.array([np.cos(angle), np.sin(angle)])
            half, thick = way * rng.uniform(0.1, 0.9) * side, way[::-1] * (-1, 1) * rng.uniform(0.004, 0.022) * side
            points = np.array([centre - half - thick, centre + half - thick,
                               centre + half + thick, centre - half + thick])
            mask = _draw([(points, True)], width, height)
        else:
            x, y = _coordinates(width, height)
            cx, cy = (centre - (width / 2, height / 2)) / side
            size = rng.uniform(0.03, 0.12)
            mask = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / size ** 2)
            strength *= 0.6
        image = _mix(image, _colour(rng), mask * strength)
    return image


def _place(rng, polygons, width: int, height: int) -> tuple[list, float]:
    """Turns, tilts and moves the outline into the central square; (polygons in px, radius in px)."""
    side = min(width, height)
    radius = rng.uniform(*OBJECT_RADIUS) * side
    turn = rng.uniform(0, 2 * np.pi)
    tilt = np.radians(TILT_MAX_DEGREES) * rng.random()
    axis = rng.uniform(0, 2 * np.pi)
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    face = np.array([[np.cos(axis), -np.sin(axis)], [np.sin(axis), np.cos(axis)]])
    placed = []
    for points, filled in polygons:
        p = points @ spin.T @ face.T
        depth = CAMERA_DISTANCE + p[:, 1:] * np.sin(tilt)
        p = p * [1, np.cos(tilt)] * CAMERA_DISTANCE / depth
        placed.append((p @ face, filled))
    everything = np.concatenate([p for p, _ in placed])
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = 2 * radius / max(high - low)
    slack = np.maximum(side * 0.97 - (high - low) * scale, 0) / 2
    centre = np.array([width, height]) / 2 + rng.uniform(-1, 1, 2) * np.minimum(slack, 0.16 * side)
    middle = (low + high) / 2
    return [((p - middle) * scale + centre, filled) for p, filled in placed], radius


def _occluder(rng, mask: np.ndarray) -> np.ndarray | None:
    """A rod or leaf that covers a part of the object, or None if none fits in a few tries."""
    height, width = mask.shape
    side = min(width, height)
    ys, xs = np.nonzero(mask > 0.5)
    for _ in range(4):
        i = rng.integers(0, len(xs))
        centre = np.array([xs[i], ys[i]], float)
        angle = rng.uniform(0, np.pi)
        way = np.array([np.cos(angle), np.sin(angle)])
        length, thick = rng.uniform(0.2, 0.8) * side, rng.uniform(0.015, 0.06) * side
        t = np.linspace(0, 2 * np.pi, 24, endpoint=False)[:, None]
        points = centre + way * np.cos(t) * length + way[::-1] * (-1, 1) * np.sin(t) * thick
        cover = _draw([(points, True)], width, height)
        if (cover * mask).sum() < OCCLUDED_SHARE_MAX * mask.sum():
            return cover
    return None


def render(rng, class_index: int, width: int, height: int) -> np.ndarray:
    """One scene as uint8 [height, width, 3] RGB."""
    side = min(width, height)
    image = _background(rng, width, height)
    image = _clutter(rng, image, int(rng.integers(0, 9)))
    if rng.random() < 0.6:  # a background out of focus
        blurred = Image.fromarray((np.clip(image, 0, 1) * 255).astype(np.uint8))
        blurred = blurred.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.02) * side))
        image = np.asarray(blurred, np.float32) / 255

    polygons, radius_px = _place(rng, OUTLINES[class_index](rng), width, height)
    mask = _draw(polygons, width, height, rng.uniform(0, 0.018) * side)
    behind = np.clip((image * mask[..., None]).sum(axis=(0, 1)) / mask.sum(), 0, 1)
    colour = _colour(rng)
    while np.linalg.norm(colour - behind) < COLOUR_DISTANCE_MIN:
        colour = _colour(rng)

    # Light from one side: a shadow on the ground, a side wall, a rounded edge.
    angle = rng.uniform(0, 2 * np.pi)
    light = np.array([np.cos(angle), np.sin(angle)])
    if rng.random() < 0.75:
        offset = (light * rng.uniform(0.01, 0.08) * side).round().astype(int)
        shadow = _blur(np.roll(mask, (offset[1], offset[0]), axis=(0, 1)), rng.uniform(0.005, 0.03) * side)
        image = image * (1 - shadow[..., None] * rng.uniform(0.2, 0.65))
    if rng.random() < 0.35:
        depth_px = int(rng.uniform(0.01, 0.05) * side)
        drift = rng.uniform(-1, 1, 2)
        for step in range(depth_px, 0, -1):
            shift = (drift * step).round().astype(int)
            wall = np.roll(mask, (shift[1], shift[0]), axis=(0, 1))
            image = _mix(image, colour * 0.5, wall)
    relief = _blur(mask, rng.uniform(0.03, 0.16) * radius_px)
    slope_y, slope_x = np.gradient(relief)
    shade = (slope_x * light[0] + slope_y * light[1]) * radius_px * rng.uniform(0.0, 0.25)
    x, y = _coordinates(width, height)
    shade = shade + (x * light[0] + y * light[1]) * rng.uniform(-0.6, 0.6)
    texture = noise(rng, width, height, int(rng.integers(3, 16)), 3) * rng.uniform(0, 0.22)
    if rng.random() < 0.25:
        texture = texture + np.sin((x * light[1] - y * light[0]) * rng.uniform(25, 90)) * rng.uniform(0.03, 0.16)
    surface = colour * np.clip(1 + shade + texture, 0.2, 2.2)[..., None]
    surface = surface + np.clip(shade - 0.25, 0, 1)[..., None] * rng.uniform(0, 0.7)  # highlight
    image = _mix(image, surface, mask)
    if rng.random() < 0.3:
        cover = _occluder(rng, mask)
        if cover is not None:
            image = _mix(image, _colour(rng) * (1 + 0.3 * noise(rng, width, height, 6, 2)[..., None]), cover)

    # Camera: uneven light, white balance, exposure, focus, sensor noise.
    glow = 1 + (x * rng.uniform(-0.4, 0.4) + y * rng.uniform(-0.4, 0.4)) - (x * x + y * y) * rng.uniform(0, 0.5)
    image = image * glow[..., None] * rng.uniform(0.88, 1.12, 3) * rng.uniform(0.8, 1.15)
    image = np.clip(image, 0, 1) ** rng.uniform(0.8, 1.3)
    picture = Image.fromarray((image * 255).astype(np.uint8))
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.008) * side))
    image = np.asarray(picture, np.float32) + rng.normal(0, rng.uniform(0, 7), (height, width, 3))
    return np.clip(image, 0, 255).round().astype(np.uint8)


def jpeg_bytes(image: np.ndarray, quality: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=quality)
    return out.getvalue()


def centre_square(image: Image.Image, side_px: int, resample=Image.Resampling.BILINEAR) -> np.ndarray:
    """What the app does: the largest centred square, scaled to `side_px` (PIL widens the filter)."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.convert("RGB").resize((side_px, side_px), resample, box=box))


def generator(seed: int, stream: int, index: int) -> np.random.Generator:
    return np.random.default_rng([seed, stream, index])


def training_image(seed: int, index: int, side_px: int) -> np.ndarray:
    """A training picture: rendered at some size, mostly JPEG-compressed, scaled to `side_px`."""
    rng = generator(seed, STREAM_TRAINING, index)
    rendered_px = int(side_px * rng.choice([1.0, 1.25, 1.6, 2.2], p=[0.45, 0.3, 0.15, 0.1]))
    image = Image.fromarray(render(rng, index % len(CLASS_NAMES), rendered_px, rendered_px))
    if rng.random() < 0.7:
        image = Image.open(io.BytesIO(jpeg_bytes(np.asarray(image), int(rng.integers(70, 96)))))
    return centre_square(image, side_px, FILTERS[rng.integers(len(FILTERS))])


def photograph(seed: int, stream: int, index: int, class_index: int, width: int, height: int) -> np.ndarray:
    """A held-out or sample picture at its own, non-square size."""
    return render(generator(seed, stream, index), class_index, width, height)
