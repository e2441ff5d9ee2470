"""The cells that every framework has; their equations are `grus.CELLS`'."""

from __future__ import annotations

from grus.equations import CELLS
from grus.zoo.record import draw, published

CHO = (
    "Cho, van Merrienboer, Gulcehre, Bahdanau, Bougares, Schwenk, Bengio: Learning phrase"
    " representations using RNN encoder-decoder for statistical machine translation (EMNLP 2014,"
    " arXiv 1406.1078)"
)
ELMAN = "Elman: Finding structure in time (Cognitive Science 14(2))"

published(2014, CHO, "PyTorch, cuDNN, Keras 3; the paper's first version")(CELLS["gru"])
published(2014, CHO, "Lasagne: GRULayer")(CELLS["gru_admit"])
published(2014, CHO, "the paper's third version; Keras 3 with reset_after=False")(
    CELLS["gru_reset_before"]
)
published(
    2014,
    "Chung, Gulcehre, Cho, Bengio: Empirical evaluation of gated recurrent neural networks on"
    " sequence modeling (arXiv 1412.3555)",
    "the paper's equations 5 to 8; Haiku",
)(CELLS["gru_reset_before_admit"])
published(
    2000,
    "Gers, Schmidhuber, Cummins: Learning to forget: continual prediction with LSTM (Neural"
    " Computation 12(10))",
    "PyTorch, Keras 3",
)(CELLS["lstm"])
published(
    2014,
    "Sak, Senior, Beaufays: Long short-term memory recurrent neural network architectures for large"
    " scale acoustic modeling (Interspeech 2014, arXiv 1402.1128)",
    "PyTorch's proj_size",
)(CELLS["lstm_projected"])
published(1990, ELMAN, "PyTorch, Keras 3")(CELLS["rnn"])
published(
    2015,
    "Le, Jaitly, Hinton: A simple way to initialize recurrent networks of rectified linear units"
    " (arXiv 1504.00941)",
    "PyTorch's nonlinearity='relu'",
    {"W": draw("normal", 0.001), "U": draw("identity"), "b": 0.0},
    "recalled from the paper: IRNN",
)(CELLS["rnn_relu"])
