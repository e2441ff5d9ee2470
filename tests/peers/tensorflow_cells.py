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
    """nn.rnn_cell.GRUCell or LSTMCell called step by step."""
    units, kinds = given["h0"].shape[-1], tf.compat.v1.nn.rnn_cell
    if "lstm_cell/kernel" in given:
        cell = kinds.LSTMCell(units, dtype=tf.float64)
        state = kinds.LSTMStateTuple(tf.constant(given["c0"]), tf.constant(given["h0"]))
    else:
        cell, state = kinds.GRUCell(units, dtype=tf.float64), tf.constant(given["h0"])
    outputs = []
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


def layer_of_older_weights(given):
    """CuDNN's and Keras 1's weights, loaded into GRU and LSTM by Keras' own conversion."""
    from tf_keras.src.saving.legacy.hdf5_format import preprocess_weights_for_loading

    units, older = given["h0"].shape[1], [given[n] for n in given if n not in ("x", "h0", "c0")]
    cudnn, lstm = len(older) == 3, "c0" in given
    settings = {"return_sequences": True}
    if not lstm:
        settings["reset_after"] = cudnn
    if not cudnn:
        settings["recurrent_activation"] = "hard_sigmoid"
    layer = (tf.keras.layers.LSTM if lstm else tf.keras.layers.GRU)(units, **settings)
    batch_first = np.swapaxes(given["x"], 0, 1)
    layer.build(batch_first.shape)
    layer.set_weights(preprocess_weights_for_loading(layer, older, "2" if cudnn else "1"))
    start = [tf.constant(given[name]) for name in ("h0", "c0") if name in given]
    return np.swapaxes(layer(tf.constant(batch_first), initial_state=start).numpy(), 0, 1)


given = dict(np.load(sys.argv[1]))
older = ("c0" in given and "kernel" in given) or given.get("bias", np.zeros(0)).shape == (
    6 * given["h0"].shape[-1],
)
if any(name.startswith("W_") for name in given) or older:
    run = layer_of_older_weights
else:
    run = layer_of_keras_2 if "kernel" in given else cell_of_tf1
np.savez(sys.argv[2], output=run(given))
