"""A small transformer encoder for texts, of this package alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

import benchsuite
from benchsuite_models._inputs import token_inputs
from benchsuite_models._local_weights import ModelWithWeights

if TYPE_CHECKING:
    from torch import nn


class SmallTextEncoder(ModelWithWeights):
    """Transformer encoder for token ids and an attention mask, by default with one block of four heads.

    Token and position embeddings, blocks that are normalised before their attention and their linear layers
    (Vaswani et al. 2017; Xiong et al. 2020), the mean over the tokens that count, and a linear classifier.
    """

    name = "text-encoder"
    recipe = benchsuite.TrainingRecipe(
        epochs=20, batch_size=32, learning_rate=0.1, weight_decay=1e-4, augment=False
    )
    width: Annotated[int, Field(ge=1)] = 32
    """Features of a token."""
    heads: Annotated[int, Field(ge=1)] = 4
    """Heads of each attention; they divide the width."""
    hidden: Annotated[int, Field(ge=1)] = 64
    """Units of each block between its two linear layers."""
    blocks: Annotated[int, Field(ge=1)] = 1

    def network_named(self, inputs: benchsuite.NamedInputs, classes: int) -> nn.Module:
        """Return the network; raises `Unsupported` for inputs without token ids."""
        from benchsuite_models.nets.text_encoder import TextEncoder

        tokens, steps = token_inputs(self.name, inputs)
        if self.width % self.heads:
            raise benchsuite.DataError(
                f"{self.name}: {self.heads} heads do not divide the width, {self.width}"
            )
        if (tokens.ids, tokens.mask) != ("input_ids", "attention_mask"):
            raise benchsuite.Unsupported(f"{self.name} takes input_ids and attention_mask, not {inputs}")
        return TextEncoder(
            tokens.vocabulary, steps, classes, self.width, self.heads, self.hidden, self.blocks
        )
