"""Image classifiers of Hugging Face's transformers."""

from __future__ import annotations

import ast
import importlib.util
import re
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import benchsuite
from benchsuite_models._library import ImageArchitecture, brief

if TYPE_CHECKING:
    from torch import nn

_LISTED = re.compile(
    r"^MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES = OrderedDict\(\n(.*?)^\)", re.MULTILINE | re.DOTALL
)


class HuggingFaceModel(ImageArchitecture):
    """Any image classifier of Hugging Face's transformers, written `huggingface/<model type>`.

    The network is built from the default configuration of its type, such as `vit`, `deit`, `swin`, `convnext`
    or `resnet`, with the image size, channels and classes of the data set and with random weights. Needs the
    extra `huggingface`.
    """

    name = "huggingface"
    config: dict[str, Any] = {}  # noqa: RUF012 - parameters are read from the class, which nobody changes
    """Fields of the configuration in place of its defaults, `{ hidden_size = 192 }`."""

    @classmethod
    def architectures(cls) -> list[str]:
        """Types of models that classify images; raises `DataError` where transformers is not installed."""
        return list(_listed())

    def made_for(self) -> str:
        """Return a text with the image size of the default configuration."""
        size = getattr(self._configuration({}), "image_size", 224)
        return f"images of {size} x {size}"

    def create(self, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Return the network; raises `DataError` for fields that its configuration has not."""
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

        channels, height, width = input_shape
        default = self._configuration({})
        known = {*vars(default), *getattr(default, "attribute_map", {})}
        for name in self.config:
            if name not in known or name.startswith("_"):
                near = get_close_matches(name, sorted(known), 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise benchsuite.DataError(f"{self.label}: its configuration has no field {name!r}{hint}")
        single = height == width and not isinstance(getattr(default, "image_size", 0), list | tuple)
        own = {"num_channels": channels, "image_size": height if single else [height, width]}
        if "vision_config" in known:  # beside one for texts, which classifies nothing
            fields = self.config | {"vision_config": own | self.config.get("vision_config", {})}
        else:
            fields = {name: value for name, value in own.items() if name in known} | self.config
        config = self._configuration({**fields, "num_labels": classes})
        found: Any = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(config)]
        network: nn.Module = (found[0] if isinstance(found, tuple | list) else found)(config)
        return network

    def _configuration(self, fields: dict[str, Any]) -> Any:
        from transformers import CONFIG_MAPPING

        try:
            return CONFIG_MAPPING[self.architecture](**fields)
        except Exception as error:
            # Configurations check themselves, each in its own way.
            raise benchsuite.DataError(f"{self.label}: no such configuration ({brief(error)})") from error


@cache
def _listed() -> tuple[str, ...]:
    """The types of models that the installed transformers lists as image classifiers, sorted.

    Importing the library to ask it takes seconds.
    """
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        raise benchsuite.DataError(
            "models of huggingface need the library transformers: pip install 'benchsuite[huggingface]'"
        )
    source = Path(spec.origin).parent / "models" / "auto" / "modeling_auto.py"
    match = _LISTED.search(source.read_text(encoding="utf-8"))
    if match is None:
        raise benchsuite.DataError(f"{source} lists no image classifiers: another version of transformers?")
    return tuple(sorted({name for name, _ in ast.literal_eval(match[1].strip())}))
