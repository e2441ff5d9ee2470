"""Run by an interpreter that has TensorFlow: the cells of TF 1 and of Keras 2 on given tensors.

Arguments: an .npz to read, an .npz to write. It imports nothing of this project.
"""

import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

tf.keras.backend.set_floatx("float64")


def cell_of_tf1(given):
    """nn.rnn_cell.GRUCell called step by step."""
    cell = tf.compat.v1.nn.rnn_cell.GRUCell(given["h0"].shape[1], dtype=tf.float64)
    state, outputs = tf.constant(given["h0"]), []
    cell.build(given["x"].shape[1:])
    names = {v.name.split(":")[0].split("gru_cell/")[-1]: v for v in cell.variables}
    for name, variable in names.items():
        variable.assign(given[name])
    for now in given["x"]:
        output, state = cell(tf.constant(now), state)
        outputs.append(output.numpy())
    return np.stack(outputs)


def layer_of_keras_2(given):
    """tf.compat.v1.keras.layers.GRU: hard_sigmoid and reset_after=False by default."""
    layer = tf.compat.v1.keras.layers.GRU(given["h0"].shape[1], return_sequences=True)
    batch_first = np.swapaxes(given["x"], 0, 1)
    layer.build(batch_first.shape)
    layer.set_weights([given[name] for name in ("kernel", "recurrent_kernel", "bias")])
    output = layer(tf.constant(batch_first), initial_state=tf.constant(given["h0"]))
    return np.swapaxes(output.numpy(), 0, 1)


given = dict(np.load(sys.argv[1]))
run = layer_of_keras_2 if "kernel" in given else cell_of_tf1
np.savez(sys.argv[2], output=run(given))
