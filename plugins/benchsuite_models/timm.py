"""Every classifier of timm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchsuite_models._library import LibraryModel, registered, unavailable

if TYPE_CHECKING:
    from torch import nn

REGISTERED = r"^@register_model\ndef (\w+)\("


class TimmModel(LibraryModel):
    """Any architecture of timm that classifies images, written `timm/<name>`.

    Architectures with a fixed image size are built for the image size of the data set.
    """

    name = "timm"

    @classmethod
    def architectures(cls) -> list[str]:
        """Names of the architectures of the installed timm, sorted."""
        return list(registered("timm", REGISTERED))

    def made_for(self) -> str:
        """Return a text with the image size of the published configuration."""
        from timm.models import get_pretrained_cfg

        config = get_pretrained_cfg(self.architecture)
        size = config.input_size if config else (3, 224, 224)
        return f"images of {size[1]} x {size[2]}"

    def library_network(self, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Return the network; raises `DataError` if its pretrained weights cannot be downloaded."""
        import timm

        channels, height, width = input_shape
        options: dict[str, Any] = {"num_classes": classes, "in_chans": channels}
        config = timm.models.get_pretrained_cfg(self.architecture)
        if config is not None and config.fixed_input_size:
            options["img_size"] = (height, width)
        # First without weights: an error here is due to the shape, an error below is due to the download.
        network: nn.Module = timm.create_model(self.architecture, pretrained=False, **options)
        if self.pretrained:
            try:
                network = timm.create_model(self.architecture, pretrained=True, **options)
            except Exception as error:
                raise unavailable(self.label, error) from error
        return network
