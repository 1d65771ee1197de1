"""Every classifier of torchvision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchsuite_models._library import LibraryModel, registered, unavailable

if TYPE_CHECKING:
    from torch import nn

REGISTERED = r"^@register_model\([^)]*\)\n(?:@[^\n]*\n)*def (\w+)\("


class TorchvisionModel(LibraryModel):
    """Any classifier of torchvision, written `torchvision/<name>`.

    GoogLeNet and Inception are built without their auxiliary classifiers. Vision transformers and MaxViT
    are built for the data set's image size. The attentions of Swin transformers call their layers, which
    torchvision gives to a function: what they compute is the same, and the layers have activations and units.
    """

    name = "torchvision"

    @classmethod
    def architectures(cls) -> list[str]:
        """Names of the classifiers of the installed torchvision, sorted."""
        return list(registered("torchvision", REGISTERED))

    def made_for(self) -> str:
        """Return a text with the smallest image size of the published weights."""
        from torchvision.models import get_model_weights

        height, width = next(iter(get_model_weights(self.architecture))).meta["min_size"]
        return f"images of {height} x {width} or more"

    def library_network(self, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Return the network; raises `DataError` if its pretrained weights cannot be downloaded."""
        from torchvision.models import get_model

        from benchsuite_models.nets.stem import change_channels

        channels, height, width = input_shape
        options: dict[str, Any] = {"num_classes": classes}
        if self.architecture in ("googlenet", "inception_v3"):
            options |= {"aux_logits": False, "init_weights": True}
        elif self.architecture.startswith("vit_"):
            options["image_size"] = height
        elif self.architecture.startswith("maxvit_"):
            options["input_size"] = (height, width)
        network: nn.Module = get_model(self.architecture, weights=None, **options)
        if self.architecture.startswith("swin_"):
            from benchsuite_models.nets.window_attention import call_window_attentions

            call_window_attentions(network)
        if channels != 3:
            change_channels(network, channels)
        if self.pretrained:
            self._load_pretrained(network, channels)
        return network

    def _load_pretrained(self, network: nn.Module, channels: int) -> None:
        from torchvision.models import get_model_weights

        from benchsuite_models._pretrained import load_pretrained

        try:
            state = get_model_weights(self.architecture).DEFAULT.get_state_dict(
                progress=True, check_hash=True
            )
        except Exception as error:
            raise unavailable(self.label, error) from error
        load_pretrained(network, state, self.label)
        if channels == 3 and self.architecture in ("googlenet", "inception_v3"):
            # Their weights need another normalisation of the inputs, which the network then applies itself.
            setattr(network, "transform_input", True)  # noqa: B010 - the module's type does not declare it
