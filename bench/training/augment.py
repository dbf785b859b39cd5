"""Augmentation: a recipe's changes to a photograph, as data, and one plain function for each.

Images are Pillow's, RGB. Every function takes its randomness as the last argument, a NumPy
generator that `generator` makes from seed, epoch and index: neither the order in which images are
read nor the number of workers, nor an interruption, changes what a photograph becomes.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

# Krizhevsky et al., NeurIPS 2012, section 4.1: principal components of the colours of ImageNet.
# The numbers are those that Facebook's programs use (pycls), for RGB on a scale of 0..1.
PCA_VALUES = np.array([0.2175, 0.0188, 0.0045])
PCA_VECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
OUTSIDE = (124, 116, 104)  # what a turned or tilted crop sees beyond the photograph
CROP_TRIES = 10


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a photograph; a probability of 0, or a width of 0, leaves a piece out.

    area, aspect   the crop's part of the photograph, and width / height (log-uniform); after ten
                   draws that do not fit, the largest centred crop within the aspects
    flip           probability of mirroring left and right
    rotation_deg   the crop is turned by up to this much either way
    tilt           each corner of the crop is moved by up to this part of its sides: a homography
    jitter         brightness, contrast, saturation, hue: factors from 1 - x to 1 + x in random
                   order, and a hue turned by up to x of the circle; with probability `jitter_p`
    pca            standard deviation of the lighting noise along the colours' components
    gamma          exponents from 1 / (1 + x) to 1 + x, log-uniform
    temperature    red gains, and blue loses, a factor of up to 1 + x, or the other way round
    grey_p         probability of losing all colour
    blur_px        standard deviation of a Gaussian blur up to this, with probability `blur_p`
    jpeg           least JPEG quality (to 95) of a compression with probability `jpeg_p`
    noise          standard deviation of pixel noise up to this, in 0..255
    occlusion      part of the image that a rectangle of one colour hides, up to this, with
                   probability `occlusion_p`
    """

    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    rotation_deg: float = 0.0
    tilt: float = 0.0
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_p: float = 0.0
    pca: float = 0.0
    gamma: float = 0.0
    temperature: float = 0.0
    grey_p: float = 0.0
    blur_px: float = 0.0
    blur_p: float = 0.0
    jpeg: int = 95
    jpeg_p: float = 0.0
    noise: float = 0.0
    occlusion: float = 0.0
    occlusion_p: float = 0.0


STRONG = Augmentation(
    area=(0.1, 1.0), aspect=(0.6, 1.6), rotation_deg=15.0, tilt=0.15,
    jitter=(0.4, 0.4, 0.4, 0.05), jitter_p=0.8, gamma=0.5, temperature=0.2, grey_p=0.1,
    blur_px=2.0, blur_p=0.3, jpeg=30, jpeg_p=0.3, noise=8.0, occlusion=0.25, occlusion_p=0.3,
)  # fmt: skip

Generator = np.random.Generator
Picture = Image.Image


def generator(seed: int, epoch: int, index: int) -> Generator:
    """Return the source of randomness of one photograph in one epoch."""
    return np.random.default_rng((seed, epoch, index))


def augmented(
    pixels: NDArray[np.uint8], how: Augmentation, side: int, draw: Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return uint8 (side, side, 3) and a shift of each channel (3,), both RGB.

    `pixels` is uint8 (height, width, 3). The shift is on the scale of 0..255 and is added where
    pixels are normalised, so that nothing is rounded or cut off; it is zero without `pca`.
    """
    image = cut(Image.fromarray(pixels), how, side, draw)
    if draw.random() < how.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if draw.random() < how.jitter_p:
        image = jitter(image, how.jitter, draw)
    if how.gamma or how.temperature:
        image = light(image, how.gamma, how.temperature, draw)
    if draw.random() < how.grey_p:
        image = image.convert("L").convert("RGB")
    if draw.random() < how.occlusion_p:
        image = occlude(image, how.occlusion, draw)
    if draw.random() < how.blur_p:
        image = image.filter(ImageFilter.GaussianBlur(draw.uniform(0.0, how.blur_px)))
    if how.noise:
        image = noise(image, how.noise, draw)
    if draw.random() < how.jpeg_p:
        image = compress(image, how.jpeg, draw)
    shift = lighting(how.pca, draw) if how.pca else np.zeros(3, dtype=np.float32)
    return np.array(image, dtype=np.uint8), shift


def crop_box(
    size: tuple[int, int],
    area: tuple[float, float],
    aspect: tuple[float, float],
    draw: Generator,
) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of a random crop of an image (width, height).

    Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, section 6; the manner of trying is
    that of torchvision and pycls.
    """
    width, height = size
    for _ in range(CROP_TRIES):
        pixels = width * height * draw.uniform(*area)
        ratio = math.exp(draw.uniform(math.log(aspect[0]), math.log(aspect[1])))
        w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(draw.integers(width - w + 1)), int(draw.integers(height - h + 1))
            return left, top, left + w, top + h
    w = max(1, min(width, round(height * aspect[1])))
    h = max(1, min(height, round(width / aspect[0])))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def cut(image: Picture, how: Augmentation, side: int, draw: Generator) -> Picture:
    """Return a random crop as a square image, turned and tilted where the recipe asks for it.

    Resampling is bilinear; where the crop is larger than the square, pixels are averaged first.
    """
    box = crop_box(image.size, how.area, how.aspect, draw)
    bilinear = Image.Resampling.BILINEAR
    if not how.rotation_deg and not how.tilt:
        return image.resize((side, side), bilinear, box=box)
    corners = corners_of(box, how, draw)
    shrink = max(1, int(min(box[2] - box[0], box[3] - box[1]) / side))
    small = image.reduce(shrink) if shrink > 1 else image
    return small.transform(
        (side, side),
        Image.Transform.PERSPECTIVE,
        homography(side, corners / shrink),
        bilinear,
        fillcolor=OUTSIDE,
    )


def corners_of(
    box: tuple[int, int, int, int], how: Augmentation, draw: Generator
) -> NDArray[np.float64]:
    """Return the corners (4, 2) of a crop, turned and tilted, as (x, y), top left clockwise."""
    left, top, right, bottom = box
    corners: NDArray[np.float64] = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    if how.rotation_deg or how.tilt:
        corners = corners + draw.uniform(-2 * how.tilt, 2 * how.tilt, (4, 2))
    corners = corners * np.array([(right - left) / 2, (bottom - top) / 2])
    if how.rotation_deg or how.tilt:
        angle = math.radians(draw.uniform(-how.rotation_deg, how.rotation_deg))
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        corners = corners @ turn.T
    corners += np.array([(left + right) / 2, (top + bottom) / 2])
    return corners


def placing(size: tuple[int, int], how: Augmentation, draw: Generator) -> NDArray[np.float64]:
    """Return where `augmented` takes its pixels from: a homography (3, 3) from x, y to x, y.

    From pixels of the augmented square to those of a photograph (width, height), both divided by
    their sides, so that either runs from 0 to 1. `draw` must be as fresh as for `augmented`.
    """
    box = crop_box(size, how.area, how.aspect, draw)
    matrix: NDArray[np.float64]
    matrix = np.array([*homography(1, corners_of(box, how, draw)), 1.0]).reshape(3, 3)
    if draw.random() < how.flip:
        matrix = matrix @ np.array([[-1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    return np.diag([1 / size[0], 1 / size[1], 1.0]) @ matrix


def homography(side: int, corners: NDArray[np.float64]) -> list[float]:
    """Return the eight coefficients that take a square's corners to `corners` (4, 2), as (x, y).

    Both run from top left clockwise; the coefficients are in the order of Pillow's PERSPECTIVE.
    """
    square = [(0.0, 0.0), (side, 0.0), (side, side), (0.0, side)]
    rows, wanted = [], []
    for (x, y), (u, v) in zip(square, corners, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        wanted += [u, v]
    return [float(c) for c in np.linalg.solve(np.array(rows), np.array(wanted))]


def jitter(image: Picture, widths: tuple[float, ...], draw: Generator) -> Picture:
    """Return the image with brightness, contrast, saturation and hue changed, in random order."""
    enhancers: list[Any] = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]
    factors = [draw.uniform(max(0.0, 1 - width), 1 + width) for width in widths[:3]]
    turned = draw.uniform(-widths[3], widths[3])
    for piece in draw.permutation(4):
        if piece == 3:
            image = hue(image, turned)
        else:
            image = enhancers[piece](image).enhance(factors[piece])
    return image


def hue(image: Picture, turned: float) -> Picture:
    """Return the image with its hues turned by this part of the circle."""
    steps = round(255 * turned)
    if not steps:
        return image
    bands = image.convert("HSV").split()
    moved = bands[0].point([(value + steps) % 256 for value in range(256)])
    return Image.merge("HSV", (moved, *bands[1:])).convert("RGB")


def light(image: Picture, gamma: float, temperature: float, draw: Generator) -> Picture:
    """Return the image under another exposure curve and another colour of light."""
    power = (1 + gamma) ** draw.uniform(-1, 1)
    gain = (1 + temperature) ** draw.uniform(-1, 1)
    curve = 255 * (np.arange(256) / 255) ** power
    table = np.concatenate([curve * gain, curve, curve / gain])
    return image.point(np.clip(np.rint(table), 0, 255).astype(int).tolist())


def occlude(image: Picture, part: float, draw: Generator) -> Picture:
    """Return the image with a rectangle of one random colour, up to `part` of it, somewhere."""
    width, height = image.size
    ratio = math.exp(draw.uniform(-0.7, 0.7))
    pixels = draw.uniform(0, part) * width * height
    w = min(width, max(1, round(math.sqrt(pixels * ratio))))
    h = min(height, max(1, round(math.sqrt(pixels / ratio))))
    left, top = int(draw.integers(width - w + 1)), int(draw.integers(height - h + 1))
    red, green, blue = (int(value) for value in draw.integers(0, 256, 3))
    image = image.copy()
    image.paste((red, green, blue), (left, top, left + w, top + h))
    return image


def noise(image: Picture, most: float, draw: Generator) -> Picture:
    """Return the image with Gaussian noise on every channel of every pixel."""
    pixels = np.asarray(image, dtype=np.float32)
    deviation = np.float32(draw.uniform(0, most))
    noisy = pixels + deviation * draw.standard_normal(pixels.shape, dtype=np.float32)
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def compress(image: Picture, least: int, draw: Generator) -> Picture:
    """Return the image as JPEG leaves it."""
    packed = io.BytesIO()
    image.save(packed, "JPEG", quality=int(draw.integers(least, 96)))
    with Image.open(packed, formats=("JPEG",)) as decoded:
        return decoded.convert("RGB")


def lighting(deviation: float, draw: Generator) -> NDArray[np.float32]:
    """Return the shift of R, G and B (3,) on the scale of 0..255 (Krizhevsky et al. 2012, 4.1)."""
    strength = draw.normal(0.0, deviation, 3) * PCA_VALUES
    return np.asarray(255 * PCA_VECTORS @ strength, dtype=np.float32)
