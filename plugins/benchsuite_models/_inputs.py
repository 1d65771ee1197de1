"""Checks of the inputs that the shipped models share."""

from __future__ import annotations

import benchsuite


def token_inputs(model: str, inputs: benchsuite.NamedInputs) -> tuple[benchsuite.Tokens, int]:
    """What a data set says of its token ids, and the length of a text.

    Raises:
        Unsupported: there are no token ids among the inputs.
    """
    if inputs.tokens is None:
        raise benchsuite.Unsupported(
            f"{model} takes texts as token ids with a mask; the data set's inputs are {inputs}"
        )
    return inputs.tokens, inputs.shapes[inputs.tokens.ids][0]


def image_shape(model: str, input_shape: tuple[int, ...], smallest: int = 1) -> tuple[int, int, int]:
    """Channels, height and width of an image input.

    Raises:
        Unsupported: the input is not an image, or smaller than `smallest` pixels in height or width.
    """
    if len(input_shape) != 3:
        raise benchsuite.Unsupported(
            f"{model} takes images, (channels, height, width);"
            f" the data set's samples have shape {input_shape}"
        )
    channels, height, width = input_shape
    if min(height, width) < smallest:
        raise benchsuite.Unsupported(
            f"{model} takes images of {smallest} x {smallest} or more; these have {height} x {width}"
        )
    return channels, height, width
