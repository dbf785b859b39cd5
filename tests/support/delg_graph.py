"""DELG in TensorFlow, written from the published descriptions: what a conversion is proven against.

It imports nothing of the project, and is run as a program: TensorFlow and PyTorch do not share a
process well. `save_slim` writes a SavedModel as TensorFlow 1 does, with named placeholders;
`save_keras` one as TensorFlow 2 does, with a signature.
"""

import sys

import numpy as np
import tensorflow as tf

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def norm(x, v, name, eps):
    parts = (v[f"{name}/{leaf}"] for leaf in ("moving_mean", "moving_variance", "beta", "gamma"))
    return tf.nn.batch_normalization(x, *parts, eps)


def fixed(x, kernel, stride):
    """Convolve with the same padding on both sides, whatever the parity."""
    pad = (int(kernel.shape[0]) - 1) // 2
    padded = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
    return tf.nn.conv2d(padded, kernel, stride, "VALID")


def slim(x, v, depth):
    """Return the third and fourth block of Slim's resnet_v1."""
    root = f"resnet_v1_{depth}"

    def layer(x, name, stride=1):
        x = fixed(x, v[f"{root}/{name}/weights"], stride)
        return norm(x, v, f"{root}/{name}/BatchNorm", 1e-5)

    x = tf.nn.max_pool2d(tf.nn.relu(layer(x, "conv1", 2)), 3, 2, "SAME")
    outputs = []
    for block, count in enumerate(BLOCKS[depth], 1):
        for unit in range(1, count + 1):
            stride = 2 if unit == count and block < 4 else 1
            name = f"block{block}/unit_{unit}/bottleneck_v1"
            short = layer(x, f"{name}/shortcut") if unit == 1 else x[:, ::stride, ::stride]
            x = tf.nn.relu(layer(x, f"{name}/conv1"))
            x = tf.nn.relu(layer(x, f"{name}/conv2", stride))
            x = tf.nn.relu(short + layer(x, f"{name}/conv3"))
        outputs.append(x)
    return outputs[2:]


def keras(x, v):
    """Return the third and fourth stage of the open code's ResNet-50, block3_strides off."""

    def layer(x, conv, bn, stride=1, padding="SAME"):
        x = tf.nn.conv2d(x, v[f"{conv}/kernel"], stride, padding) + v[f"{conv}/bias"]
        return norm(x, v, bn, 1e-3)

    x = tf.nn.max_pool2d(tf.nn.relu(layer(x, "conv1", "bn_conv1", 2)), 3, 2, "VALID")
    outputs = []
    for stage, count in enumerate(BLOCKS[50], 2):
        for block in "abcdef"[:count]:
            stride = 2 if block == "a" and stage > 2 else 1

            def branch(x, part, stride=1, name=f"{stage}{block}_branch"):
                return layer(x, f"res{name}{part}", f"bn{name}{part}", stride)

            short = branch(x, "1", stride) if block == "a" else x
            x = tf.nn.relu(branch(x, "2a", stride))
            x = tf.nn.relu(branch(x, "2b"))
            x = tf.nn.relu(short + branch(x, "2c"))
        outputs.append(x)
    return outputs[1 + 1 :]


def heads(third, fourth, v, whitening, encode, decode, attention1, bn, attention2, eps):
    """Return global descriptor, reduced features and attention; names are those of the heads."""

    def dense(x, name):
        kernel = next(
            v[f"{name}/{leaf}"] for leaf in ("kernel", "weights") if f"{name}/{leaf}" in v
        )
        bias = [v[f"{name}/{leaf}"] for leaf in ("bias", "biases") if f"{name}/{leaf}" in v]
        return tf.tensordot(x, tf.reshape(kernel, kernel.shape[-2:]), 1) + (bias or [0.0])[0]

    pooled = tf.reduce_mean(tf.maximum(fourth, 1e-6) ** 3.0, [1, 2]) ** (1 / 3)
    reduced = dense(third, encode)
    seen = tf.nn.relu(dense(reduced, decode)) if decode else third
    hidden = tf.nn.relu(norm(dense(seen, attention1), v, bn, eps))
    return dense(pooled, whitening), reduced, tf.nn.softplus(dense(hidden, attention2))


def extract(image, scales, limit, threshold, indices, network, resize, stride):
    """Return boxes, features, scales, scores and global descriptors."""
    shape = tf.cast(tf.shape(image)[:2], tf.float32)
    batch = (tf.cast(image, tf.float32)[None] - 128.0) / 128.0

    def at(i):
        scale = tf.gather(scales, i)
        return scale, network(resize(batch, tf.cast(tf.round(shape * scale), tf.int32)))

    def more(i, boxes, features, inverses, scores):
        scale, (_, reduced, attention) = at(i)
        height, width = tf.shape(reduced)[1], tf.shape(reduced)[2]
        grid = tf.stack(tf.meshgrid(tf.range(height), tf.range(width), indexing="ij"), -1)
        corner = tf.cast(tf.reshape(grid, [-1, 2]), tf.float32) * stride - 145.0
        attention = tf.reshape(attention, [-1])
        kept = tf.reshape(tf.where(attention >= threshold), [-1])
        boxes = tf.concat(
            [boxes, tf.gather(tf.concat([corner, corner + 290.0], 1) / scale, kept)], 0
        )
        features = tf.concat([features, tf.gather(tf.reshape(reduced, [-1, 128]), kept)], 0)
        scores = tf.concat([scores, tf.gather(attention, kept)], 0)
        inverses = tf.concat([inverses, tf.ones_like(scores[: tf.shape(kept)[0]]) / scale], 0)
        return i + 1, boxes, features, inverses, scores

    start = (tf.constant(0), tf.zeros([0, 4]), tf.zeros([0, 128]), tf.zeros([0]), tf.zeros([0]))
    free = tuple(map(tf.TensorShape, ([], [None, 4], [None, 128], [None], [None])))
    _, boxes, features, inverses, scores = tf.while_loop(
        lambda i, *_: i < tf.shape(scales)[0], more, start, shape_invariants=free
    )
    best = tf.argsort(scores, direction="DESCENDING", stable=True)[:limit]
    described = tf.map_fn(lambda i: at(i)[1][0][0], indices, fn_output_signature=tf.float32)
    named = {"boxes": boxes, "features": features, "scales": inverses, "scores": scores[:, None]}
    found = {name: tf.identity(tf.gather(value, best), name=name) for name, value in named.items()}
    return {**found, "global_descriptors": tf.identity(described, name="global_descriptors")}


SPECS = {
    "input_image": ([None, None, 3], tf.uint8),
    "input_scales": ([None], tf.float32),
    "input_max_feature_num": ([], tf.int32),
    "input_abs_thres": ([], tf.float32),
    "input_global_scales_ind": ([None], tf.int32),
}


def save_slim(values, path):
    """Write a SavedModel of TensorFlow 1 with these variables, the heads' under `head/`."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        content = {
            name: v1.get_variable(name, value.shape, initializer=v1.zeros_initializer())
            for name, value in values.items()
        }
        arguments = [v1.placeholder(kind, shape, name) for name, (shape, kind) in SPECS.items()]
        names = ("whitening", "encode", None, "attention1", "attention1/BatchNorm", "attention2")
        depth = 101 if any(name.startswith("resnet_v1_101/") for name in values) else 50

        def network(x):
            third, fourth = slim(x, content, depth)
            return heads(third, fourth, content, *(n and f"head/{n}" for n in names), 1e-5)

        extract(*arguments, network, v1.image.resize_bilinear, 32.0)
        start = {content[name].initializer.inputs[1]: value for name, value in values.items()}
        session.run([variable.initializer for variable in content.values()], start)
        builder = v1.saved_model.Builder(path)
        builder.add_meta_graph_and_variables(session, ["serve"])
        builder.save()


class Keras(tf.Module):
    """The exported module of the open code: its variables are known to a checkpoint by number."""


def save_keras(values, path, feed="decoder", stride="32"):
    """Write a SavedModel of TensorFlow 2; at stride 32 the open code's block3_strides is on."""
    module = Keras()
    module.held = [tf.Variable(value, name=name) for name, value in values.items()]
    content = dict(zip(values, module.held, strict=True))
    names = ("embedding_layer", "autoencoder/autoenc_conv1",
             "autoencoder/autoenc_conv2" if feed == "decoder" else None,
             "attention/attn_conv1", "attention/bn_conv1", "attention/attn_conv2")  # fmt: skip

    def network(x):
        third, fourth = keras(x, content)
        third = third[:, ::2, ::2] if stride == "32" else third
        return heads(third, fourth, content, *names, 1e-3)

    @tf.function(input_signature=[tf.TensorSpec(s, k, n) for n, (s, k) in SPECS.items()])
    def described(input_image, input_scales, input_max_feature_num, input_abs_thres,
                  input_global_scales_ind):  # fmt: skip
        return extract(input_image, input_scales, input_max_feature_num, input_abs_thres,
                       input_global_scales_ind, network, tf.image.resize,
                       float(stride))  # fmt: skip

    module.described = described
    tf.saved_model.save(module, path)


def main(kind, values, path, *options):
    """Write the model `kind` with the variables in an .npz, in which a slash is a bar."""
    with np.load(values) as stored:
        named = {name.replace("|", "/"): stored[name] for name in stored.files}
    (save_slim if kind == "slim" else save_keras)(named, path, *options)


if __name__ == "__main__":
    main(*sys.argv[1:])
