"""Image and text classifiers of Hugging Face's transformers."""

from __future__ import annotations

import ast
import importlib.util
import re
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import benchsuite
from benchsuite_models._inputs import token_inputs
from benchsuite_models._library import ImageArchitecture, brief

if TYPE_CHECKING:
    from torch import nn

IMAGES, TEXTS = "IMAGE", "SEQUENCE"
"""As the library calls what is classified."""
_LISTED = r"^MODEL_FOR_{}_CLASSIFICATION_MAPPING_NAMES = OrderedDict\(\n(.*?)^\)"


class HuggingFaceModel(ImageArchitecture):
    """Any image or text classifier of Hugging Face's transformers, written `huggingface/<model type>`.

    The network is built from the default configuration of its type, with random weights: `vit`, `deit`,
    `swin`, `convnext`, `resnet` and others with the image size, channels and classes of the data set; `bert`,
    `distilbert`, `roberta`, `electra` and others with its vocabulary, padding, length of texts and classes.
    Needs the extra `huggingface`.
    """

    name = "huggingface"
    config: dict[str, Any] = {}  # noqa: RUF012 - parameters are read from the class, which nobody changes
    """Fields of the configuration in place of its defaults, `{ hidden_size = 192 }`."""

    @classmethod
    def architectures(cls) -> list[str]:
        """Types of models that classify images or texts; raises `DataError` without transformers."""
        return sorted({*listed(IMAGES), *listed(TEXTS)})

    def made_for(self) -> str:
        """Return a text with the image size of the default configuration."""
        size = getattr(self._configuration({}), "image_size", 224)
        return f"images of {size} x {size}"

    def create(self, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Return the network; raises `DataError` for fields that its configuration has not."""
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

        if self.architecture not in listed(IMAGES):
            raise benchsuite.Unsupported(f"{self.label} classifies texts, not images")
        channels, height, width = input_shape
        default = self._configuration({})
        known = self._fields_of(default)
        single = height == width and not isinstance(getattr(default, "image_size", 0), list | tuple)
        own = {"num_channels": channels, "image_size": height if single else [height, width]}
        if "vision_config" in known:  # beside one for texts, which classifies nothing
            fields = self.config | {"vision_config": own | self.config.get("vision_config", {})}
        else:
            fields = {name: value for name, value in own.items() if name in known} | self.config
        config = self._configuration({**fields, "num_labels": classes})
        return _made(MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, config)

    def network_named(self, inputs: benchsuite.NamedInputs, classes: int) -> nn.Module:
        """Return the network after testing it with one text; raises `Unsupported` if that fails."""
        from benchsuite_models.nets.stem import probe_text

        tokens, steps = token_inputs(self.label, inputs)
        if self.architecture not in listed(TEXTS):
            raise benchsuite.Unsupported(f"{self.label} classifies images, not texts")
        try:
            network = self._of_texts(tokens, steps, classes)
            shape = probe_text(network, inputs)
        except (benchsuite.BenchsuiteError, MemoryError):
            raise
        except Exception as error:
            raise benchsuite.Unsupported(
                f"{self.label} cannot take texts of {steps} tokens of {tokens.vocabulary}, as {inputs}: "
                f"{brief(error)}"
            ) from error
        if shape != (1, classes):
            raise benchsuite.Unsupported(
                f"{self.label} is no classifier: its output for one text is {shape}, not (1, {classes})"
            )
        return network

    def _of_texts(self, tokens: benchsuite.Tokens, steps: int, classes: int) -> nn.Module:
        from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

        known = self._fields_of(self._configuration({}))
        if "vocab_size" not in known:
            raise benchsuite.Unsupported(f"{self.label} has no vocabulary of its own")
        own = {
            "vocab_size": tokens.vocabulary,
            "pad_token_id": tokens.padding,
            # Some count positions from behind the id of padding, or always from 2.
            "max_position_embeddings": steps + max(tokens.padding, 1) + 1,
        }
        fields = {name: value for name, value in own.items() if name in known} | self.config
        config = self._configuration({**fields, "num_labels": classes})
        return _made(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, config)

    def _fields_of(self, default: Any) -> set[str]:
        """The fields of its configuration; raises `DataError` where `config` names another."""
        known = {*vars(default), *getattr(default, "attribute_map", {})}
        for name in self.config:
            if name not in known or name.startswith("_"):
                near = get_close_matches(name, sorted(known), 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise benchsuite.DataError(f"{self.label}: its configuration has no field {name!r}{hint}")
        return known

    def _configuration(self, fields: dict[str, Any]) -> Any:
        from transformers import CONFIG_MAPPING

        try:
            return CONFIG_MAPPING[self.architecture](**fields)
        except Exception as error:
            # Configurations check themselves, each in its own way.
            raise benchsuite.DataError(f"{self.label}: no such configuration ({brief(error)})") from error


def _made(mapping: Any, config: Any) -> nn.Module:
    """The network of a configuration, of the first class that a mapping has for it."""
    found = mapping[type(config)]
    network: nn.Module = (found[0] if isinstance(found, tuple | list) else found)(config)
    return network


@cache
def listed(classified: str) -> tuple[str, ...]:
    """The types of models that the installed transformers lists as classifiers of images or texts, sorted.

    Importing the library to ask it takes seconds.
    """
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        raise benchsuite.DataError(
            "models of huggingface need the library transformers: pip install 'benchsuite[huggingface]'"
        )
    source = Path(spec.origin).parent / "models" / "auto" / "modeling_auto.py"
    pattern = re.compile(_LISTED.format(classified), re.MULTILINE | re.DOTALL)
    match = pattern.search(source.read_text(encoding="utf-8"))
    if match is None:
        raise benchsuite.DataError(
            f"{source} lists no {classified.lower()} classifiers: another version of transformers?"
        )
    return tuple(sorted({name for name, _ in ast.literal_eval(match[1].strip())}))
