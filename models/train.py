"""Training in TensorFlow, on the layer list of `network.py`.

Nothing here knows the network's structure: `forward` walks the list.  The
optimiser is AdamW with a one-cycle learning rate; the weights kept are an
exponential moving average over the last steps.
"""

from __future__ import annotations

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from network import Layer

BN_EPSILON = 1e-5
BN_MOMENTUM = 0.95  # of the running mean and variance, per step
WEIGHT_DECAY = 0.02  # per step, times the learning rate; convolutions and the last layer only
ADAM_BETAS = (0.9, 0.99)
ADAM_EPSILON = 1e-7
PEAK_LEARNING_RATE = 4e-3
WARMUP_SHARE = 0.1  # of all steps
LABEL_SMOOTHING = 0.05
WEIGHT_AVERAGE_DECAY = 0.995  # per step
BATCH = 64

# Augmentation while training, on pixels scaled to 0-1.
BRIGHTNESS_RANGE = 0.1
CONTRAST_RANGE = (0.8, 1.25)
CHANNEL_GAIN_RANGE = (0.9, 1.1)

Weights = dict[str, np.ndarray]


def initial_weights(layers: list[Layer], seed: int) -> Weights:
    """He-normal convolutions, unit batch norms; the last norm of a residual branch starts small."""
    rng = np.random.default_rng(seed)
    weights: Weights = {}
    by_name = {layer.name: layer for layer in layers}
    before_add = {name for layer in layers if layer.op == "add" for name in layer.inputs}

    def channels_in(layer: Layer) -> int:
        source = layer.inputs[0]
        return 3 if source == "input" else by_name[source].shape[-1]

    def he(shape: tuple[int, ...], fan_in: int) -> np.ndarray:
        return (rng.standard_normal(shape) * np.sqrt(2.0 / fan_in)).astype(np.float32)

    for layer in layers:
        c = layer.shape[-1]
        if layer.op == "conv":
            k = layer.attrs["kernel"]
            c_in = channels_in(layer)
            weights[layer.name + ".weight"] = he((k, k, c_in, c), k * k * c_in)
        elif layer.op == "depthwise":
            weights[layer.name + ".weight"] = he((3, 3, c, 1), 9)
        elif layer.op == "bn":
            start = 0.3 if layer.name in before_add else 1.0
            weights[layer.name + ".scale"] = np.full(c, start, np.float32)
            weights[layer.name + ".shift"] = np.zeros(c, np.float32)
            weights[layer.name + ".mean"] = np.zeros(c, np.float32)
            weights[layer.name + ".variance"] = np.ones(c, np.float32)
        elif layer.op == "gemm":
            c_in = channels_in(layer)
            weights[layer.name + ".weight"] = he((c_in, c), 2 * c_in)
            weights[layer.name + ".bias"] = np.zeros(c, np.float32)
    return weights


def trainable(name: str) -> bool:
    return not name.endswith((".mean", ".variance"))


def forward(layers: list[Layer], w: dict[str, tf.Tensor], x: tf.Tensor):
    """Logits of a batch, and the batch statistics of every norm: {name: (mean, variance)}."""
    values = {"input": x}
    statistics = {}
    for layer in layers:
        args = [values[name] for name in layer.inputs]
        name = layer.name
        if layer.op in ("conv", "depthwise"):
            pad = layer.attrs["kernel"] // 2
            stride = layer.attrs["stride"]
            padding = [[0, 0], [pad, pad], [pad, pad], [0, 0]]
            call = tf.nn.conv2d if layer.op == "conv" else tf.nn.depthwise_conv2d
            y = call(args[0], w[name + ".weight"], [1, stride, stride, 1], padding)
        elif layer.op == "bn":
            y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
                args[0], w[name + ".scale"], w[name + ".shift"], epsilon=BN_EPSILON, is_training=True)
            statistics[name] = (mean, variance)
        elif layer.op == "relu":
            y = tf.nn.relu(args[0])
        elif layer.op == "add":
            y = args[0] + args[1]
        elif layer.op == "concat":
            y = tf.concat(args, axis=3)
        elif layer.op == "maxpool":
            y = tf.nn.max_pool2d(args[0], 2, 2, "VALID")
        elif layer.op == "gap":
            y = tf.reduce_mean(args[0], axis=[1, 2])
        elif layer.op == "gemm":
            y = tf.matmul(args[0], w[name + ".weight"]) + w[name + ".bias"]
        else:
            raise ValueError(layer.op)
        values[name] = y
    return values[layers[-1].name], statistics


def augment(images: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Stored uint8 images to a float batch: random crop, flips, quarter turns, colour."""
    n, stored, _, _ = images.shape
    out = np.empty((n, side, side, 3), np.float32)
    for i in range(n):
        top, left = rng.integers(0, stored - side + 1, 2)
        crop = images[i, top:top + side, left:left + side]
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        out[i] = np.rot90(crop, rng.integers(0, 4))
    out *= 1 / 255.0
    contrast = rng.uniform(*CONTRAST_RANGE, (n, 1, 1, 1)).astype(np.float32)
    gain = rng.uniform(*CHANNEL_GAIN_RANGE, (n, 1, 1, 3)).astype(np.float32)
    lift = rng.uniform(-BRIGHTNESS_RANGE, BRIGHTNESS_RANGE, (n, 1, 1, 1)).astype(np.float32)
    out -= 0.5
    out *= contrast * gain
    out += 0.5 + lift
    np.clip(out, 0, 1, out=out)
    return out


def normalise(images: np.ndarray, mean: list[float], std: list[float]) -> np.ndarray:
    """Pixels scaled to 0-1 to what the network takes."""
    return (images - np.array(mean, np.float32)) / np.array(std, np.float32)


def shrink(images: np.ndarray, factor: int) -> np.ndarray:
    """Mean over factor x factor pixels, for the cheap first epochs."""
    n, h, w, c = images.shape
    mean = images.reshape(n, h // factor, factor, w // factor, factor, c).mean(axis=(2, 4))
    return mean.round().astype(np.uint8)


def learning_rate(step: int, steps: int) -> float:
    """One cycle: linear rise to the peak, then half a cosine down to zero."""
    warmup = max(1, int(steps * WARMUP_SHARE))
    if step < warmup:
        return PEAK_LEARNING_RATE * (step + 1) / warmup
    return PEAK_LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * (step - warmup) / max(1, steps - warmup)))


def train(layers: list[Layer], images: np.ndarray, labels: np.ndarray, *, seed: int,
          phases: list[tuple[int, int]], crop_side: int, mean: list[float], std: list[float],
          log=print) -> Weights:
    """Trains and returns the averaged weights.

    `phases` is a list of (shrink factor, epochs): the first epochs run on
    shrunken images, which costs a quarter of the time for a factor of 2.
    """
    tf.random.set_seed(seed)
    rng = np.random.default_rng(seed + 1)
    variables = {k: tf.Variable(v, trainable=trainable(k)) for k, v in initial_weights(layers, seed).items()}
    learned = [k for k in variables if trainable(k)]
    first = {k: tf.Variable(tf.zeros_like(variables[k])) for k in learned}  # Adam's moments
    second = {k: tf.Variable(tf.zeros_like(variables[k])) for k in learned}
    average = {k: tf.Variable(v) for k, v in variables.items()}

    @tf.function(reduce_retracing=True)
    def step(x, y, rate, keep, number):
        with tf.GradientTape() as tape:
            logits, statistics = forward(layers, variables, x)
            target = tf.one_hot(y, logits.shape[-1]) * (1 - LABEL_SMOOTHING) + LABEL_SMOOTHING / logits.shape[-1]
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, logits))
        gradients = tape.gradient(loss, [variables[k] for k in learned])
        b1, b2 = ADAM_BETAS
        scale = rate * tf.sqrt(1 - b2 ** number) / (1 - b1 ** number)
        for k, g in zip(learned, gradients):
            first[k].assign(b1 * first[k] + (1 - b1) * g)
            second[k].assign(b2 * second[k] + (1 - b2) * g * g)
            if k.endswith(".weight"):
                variables[k].assign_sub(rate * WEIGHT_DECAY * variables[k])
            variables[k].assign_sub(scale * first[k] / (tf.sqrt(second[k]) + ADAM_EPSILON))
        for name, (m, v) in statistics.items():
            for key, value in ((".mean", m), (".variance", v)):
                old = variables[name + key]
                old.assign(BN_MOMENTUM * old + (1 - BN_MOMENTUM) * value)
        for k, v in variables.items():
            average[k].assign(keep * average[k] + (1 - keep) * v)
        right = tf.reduce_mean(tf.cast(tf.argmax(logits, 1, tf.int32) == y, tf.float32))
        return loss, right

    per_epoch = len(images) // BATCH
    steps = per_epoch * sum(epochs for _, epochs in phases)
    done = 0
    for factor, epochs in phases:
        stored = images if factor == 1 else shrink(images, factor)
        for _ in range(epochs):
            started = time.perf_counter()
            order = rng.permutation(len(images))
            losses, rights = [], []
            for b in range(per_epoch):
                pick = np.sort(order[b * BATCH:(b + 1) * BATCH])
                x = normalise(augment(stored[pick], crop_side // factor, rng), mean, std)
                keep = min(WEIGHT_AVERAGE_DECAY, done / (done + 10))
                loss, right = step(tf.constant(x), tf.constant(labels[pick], tf.int32),
                                   tf.constant(learning_rate(done, steps), tf.float32),
                                   tf.constant(keep, tf.float32), tf.constant(done + 1, tf.float32))
                losses.append(float(loss))
                rights.append(float(right))
                done += 1
            log(f"  step {done}/{steps}, {crop_side // factor} px: loss {np.mean(losses):.3f}, "
                f"training accuracy {100 * np.mean(rights):.1f} %, {time.perf_counter() - started:.0f} s")
    return {k: v.numpy() for k, v in average.items()}
