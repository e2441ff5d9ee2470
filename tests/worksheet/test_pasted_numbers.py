"""Pasted text into numbers: taken apart, never evaluated; whatever else it holds is one error."""

from __future__ import annotations

import contextlib
import time

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from grus.errors import InputError
from grus.worksheet.pasted_numbers import MAX_NUMBERS, MAX_TEXT, read_numbers, read_steps

FLAT = np.array([1.0, 2, 9, 8])
SQUARE = FLAT.reshape(2, 2)

GOOD = {
    "1,2,9,8": FLAT,
    "1 2 9 8": FLAT,
    "1, 2, 9, 8,": FLAT,
    "[1, 2, 9, 8]": FLAT,
    "(1, 2, 9, 8)": FLAT,
    "1 2; 9 8": SQUARE,
    "1,2;9,8;": SQUARE,
    "1\t2\n9\t8\n": SQUARE,
    "1\n2\n9\n8": FLAT.reshape(4, 1),
    "1; 2; 9; 8": FLAT.reshape(4, 1),
    "[1 2; 9 8]": SQUARE,
    "[[1, 2], [9, 8]]": SQUARE,
    "[[1. 2.]\n [9. 8.]]": SQUARE,
    "[1, 2], [9, 8]": SQUARE,
    "[[1, 2, 9, 8]]": FLAT.reshape(1, 4),
    "[[[1, 2], [9, 8]]]": SQUARE[None],
    "array([[1., 2.],\n       [9., 8.]], dtype=float32)": SQUARE,
    "np.array([[1, 2], [9, 8]])": SQUARE,
    "Array([1., 2., 9., 8.], dtype=float32)": FLAT,
    "tensor([[1., 2.], [9., 8.]], device='cuda:0', grad_fn=<AddmmBackward0>)": SQUARE,
    "tensor([1., 2., 9., 8.], dtype=torch.float64,)": FLAT,
    "Parameter containing:\ntensor([[1., 2.],\n        [9., 8.]], requires_grad=True)": SQUARE,
    "<tf.Variable 'gru/kernel:0' shape=(2, 2) dtype=float32, numpy=\narray([[1., 2.],\n"
    "       [9., 8.]], dtype=float32)>": SQUARE,
    "<Variable path=gru/gru_cell/kernel, shape=(2, 2), dtype=float32, value=[[1. 2.]\n"
    " [9. 8.]]>": SQUARE,
    "<tf.Tensor: shape=(4,), dtype=float32, numpy=array([1., 2., 9., 8.], dtype=float32)>": FLAT,
    "[np.float32(1.0), np.float32(2.0), np.float64(9), float(8)]": FLAT,
    "1e0 +2. .9e1 80E-1": FLAT,
    "3": np.array([3.0]),
    "np.float32(0.5)": np.array([0.5]),
    "-0.5": np.array([-0.5]),
    "\N{MINUS SIGN}0.5": np.array([-0.5]),
}


@pytest.mark.parametrize(("text", "expected"), GOOD.items(), ids=GOOD)
def test_what_people_paste_is_read(text: str, expected: np.ndarray) -> None:
    found = read_numbers(text, "--W")
    assert found.dtype == np.float64
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


BAD = {
    "": "there are no numbers in it",
    "  \n ": "there are no numbers in it",
    ";;": "there are no numbers in it",
    "[]": "there are no numbers in it",
    "[[], []]": "there are no numbers in it",
    "nan": "nan is not a finite number",
    "[1, -inf]": "-inf is not a finite number",
    "1e999": "'1e999' is too large",
    "9" * 400: "is too large",
    "x": "'x' is not a number",
    "1 2 three": "'three' is not a number",
    "[1, 2": "a bracket is opened that is not closed",
    "1, 2]": "a bracket is closed that was not opened",
    "[1], 2]]": "a bracket is closed that was not opened",
    "[[1, 2], [3]]": "rows of different lengths: 1 and 2",
    "1 2; 3": "rows of different lengths: 1 and 2",
    "[1, [2]]": "rows of different lengths: a single number and 1",
    "1,,2": "a number is missing before a comma",
    "[1,,2]": "a number is missing before a comma",
    ",1": "a number is missing before a comma",
    "[,1]": "a number is missing before a comma",
    "[1 2; [3]]": "brackets and ';' cannot be mixed",
    "[0.1 0.2 ... 0.9]": r"shortened with '\.\.\.'; print the whole array",
    "[0.1 0.2 … 0.9]": "shortened",
    "[[[[1]]]]": "nested more than 3 deep",
    "[" * 5000: "nested more than 3 deep",
    "[array([[1.]], dtype=float32), array([2.])]": "a list of arrays",
    "array([1, 2]": "'array' is not a number",
    "array([1], dtype=float32) + 1": "'array' is not a number",
    "array([1], dtype=float32, [2])": "'dtype=float32' is not a number",
    "array([1]), array([2])": "a bracket is closed that was not opened",
    "array([1], x=f(g(h)))": "is not a number",
    "__import__('os').system('true')": "'__import__' is not a number",
    "[x for x in range(3)]": "'x' is not a number",
    "1+2j": r"'1\+2j' is not a number",
    "1-2": "'1-2' is not a number",
    "0x10": "'0x10' is not a number",
    "1_000": "'1_000' is not a number",
    "True": "'True' is not a number",
    "'1'": "is not a number",
    "\N{ARABIC-INDIC DIGIT ONE}\0": "is not a number",
    "1" * 500 + "x": r"'1{27}\.\.\.' is not a number",
    "1 " * (MAX_NUMBERS + 1): f"{MAX_NUMBERS + 1} numbers, at most {MAX_NUMBERS}",
    " " * (MAX_TEXT + 1): f"at most {MAX_TEXT} are read",
}


@pytest.mark.parametrize(("text", "message"), BAD.items(), ids=[t[:30] for t in BAD])
def test_anything_else_is_one_line_that_names_the_option(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_numbers(text, "--W")
    assert str(caught.value).startswith("--W: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


LONG = {
    "digits": "1" * 900_000 + "x",
    "names": "a" * 900_000,
    "dots": "a." * 400_000 + "float(",
    "calls": "array(" * 100_000 + ")" * 100_000,
    "keywords": "array([1]" + ", a=b" * 100_000 + "!)",
    "elements": "float(" * 150_000,
    "angles": "<numpy=" * 100_000 + ">",
    "commas": "," * 900_000,
    "opened": "[" * 900_000,
    "pairs": "[]" * 400_000,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_a_megabyte_of_hostile_text_ends_at_once(text: str) -> None:
    began = time.perf_counter()
    with pytest.raises(InputError):
        read_numbers(text, "--W")
    # Linear work on a megabyte takes well below a second; quadratic takes minutes.
    assert time.perf_counter() - began < 20


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_numbers_or_an_input_error(text: str) -> None:
    with contextlib.suppress(InputError):
        assert np.isfinite(read_numbers(text, "--W")).all()


TOKENS = ["[", "]", "(", ")", ",", ";", "\n", " ", "1", "-2.5", "array", "dtype=float32", "..", "e"]


@given(st.lists(st.sampled_from(TOKENS), max_size=25).map("".join))
@settings(max_examples=500, deadline=None)
def test_any_mixture_of_the_right_pieces_is_numbers_or_an_input_error(text: str) -> None:
    with contextlib.suppress(InputError):
        assert np.isfinite(read_numbers(text, "--W")).all()


arrays = st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda shape: st.lists(
        st.lists(
            st.floats(allow_nan=False, allow_infinity=False), min_size=shape[1], max_size=shape[1]
        ),
        min_size=shape[0],
        max_size=shape[0],
    )
)


@given(arrays)
@settings(max_examples=200, deadline=None)
def test_what_python_and_numpy_print_reads_back_exactly(rows: list[list[float]]) -> None:
    array = np.array(rows)
    with np.printoptions(floatmode="unique", precision=17, threshold=1000):
        for text in (repr(rows), repr(array), str(array), str(rows).replace("],", "]")):
            assert np.array_equal(read_numbers(text, "--W"), array)


STEPS = {
    "1 2 9 8": (1, [[1], [2], [9], [8]]),
    "1,2,9,8": (2, [[1, 2], [9, 8]]),
    "1 2; 9 8": (2, [[1, 2], [9, 8]]),
    "[[1], [2], [9], [8]]": (1, [[1], [2], [9], [8]]),
    "[[1, 2, 9, 8]]": (4, [[1, 2, 9, 8]]),
}


@pytest.mark.parametrize(("text", "expected"), STEPS.items(), ids=STEPS)
def test_a_flat_list_is_cut_into_steps_and_a_row_is_a_step(
    text: str, expected: tuple[int, list[list[float]]]
) -> None:
    features, rows = expected
    assert np.array_equal(read_steps(text, features), np.array(rows, float))


NO_STEPS = {
    "1 2 9": (2, r"--x: 3 numbers do not make whole steps: .* for 2 features a step"),
    "1 2 9 8; 1 2 9 8": (2, "--x: 2 rows of 4, but a row is one step .* for 2 features"),
    "[[1, 2, 9, 8]]": (1, "--x: 1 row of 4, but a row is one step .* for 1 feature a step"),
    "[[[1], [2]]]": (1, r"--x: an array of shape \(1, 2, 1\); .* without a batch axis"),
    "one": (1, "--x: 'one' is not a number"),
}


@pytest.mark.parametrize(("text", "wanted"), NO_STEPS.items(), ids=NO_STEPS)
def test_a_count_that_does_not_divide_is_an_error(text: str, wanted: tuple[int, str]) -> None:
    features, message = wanted
    with pytest.raises(InputError, match=message):
        read_steps(text, features)
