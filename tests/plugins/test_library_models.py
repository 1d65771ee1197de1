"""The families of torchvision and timm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import benchsuite
from benchsuite_models.timm import TimmModel
from benchsuite_models.torchvision import TorchvisionModel

if TYPE_CHECKING:
    from pathlib import Path

    from benchsuite_models._library import LibraryModel


def tv(architecture: str, **parameters: Any) -> TorchvisionModel:
    return TorchvisionModel(architecture=architecture, **parameters)


def timm_model(architecture: str, **parameters: Any) -> TimmModel:
    return TimmModel(architecture=architecture, **parameters)


def test_architectures_are_those_the_libraries_list() -> None:
    import timm
    import torchvision

    listed = torchvision.models.list_models(module=torchvision.models)
    assert TorchvisionModel.architectures() == sorted(listed)
    assert TimmModel.architectures() == sorted(timm.list_models())


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (tv("resnet18"), (3, 32, 32)),
        (tv("resnet18", small_stem=True), (1, 8, 8)),
        (tv("densenet121", small_stem=True), (3, 32, 32)),
        (tv("mobilenet_v3_small"), (1, 28, 28)),
        (tv("squeezenet1_1"), (3, 48, 64)),
        (tv("googlenet"), (3, 64, 64)),
        (tv("inception_v3"), (3, 96, 96)),
        (tv("vit_b_32"), (3, 64, 64)),
        (tv("swin_t"), (1, 32, 32)),
        (timm_model("test_resnet"), (3, 32, 32)),
        (timm_model("resnet10t"), (1, 28, 28)),
        (timm_model("resnet18", small_stem=True), (4, 16, 16)),
        (timm_model("test_vit"), (3, 64, 64)),
        (timm_model("test_mambaout"), (3, 96, 96)),
        (timm_model("mobilenetv3_small_050"), (1, 32, 32)),
    ],
    ids=repr,
)
def test_any_channels_and_classes(model: LibraryModel, shape: tuple[int, ...]) -> None:
    network = model.build(shape, 7)
    assert network.training
    output = network(torch.rand(2, *shape))
    assert isinstance(output, torch.Tensor)
    assert output.shape == (2, 7)
    output.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_resnet18_has_the_published_size() -> None:
    assert sum(p.numel() for p in tv("resnet18").build((3, 64, 64), 1000).parameters()) == 11_689_512


@pytest.mark.parametrize(
    "model", [tv("resnet18", small_stem=True), timm_model("resnet18", small_stem=True)], ids=repr
)
def test_small_stem_keeps_the_size_of_the_maps(model: LibraryModel) -> None:
    network = model.build((3, 32, 32), 10)
    sizes = []
    network.get_submodule("layer1").register_forward_hook(lambda m, a, out: sizes.append(tuple(out.shape)))
    network(torch.zeros(2, 3, 32, 32))
    assert sizes == [(2, 64, 32, 32)]
    stem = network.get_submodule("conv1")
    assert isinstance(stem, nn.Conv2d)
    assert (stem.kernel_size, stem.stride, stem.bias) == ((3, 3), (1, 1), None)


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (
            tv("alexnet"),
            (3, 32, 32),
            "torchvision/alexnet cannot take images .* made for images of 63 x 63 or more",
        ),
        (tv("vit_b_16"), (3, 40, 40), "cannot take images of shape (3, 40, 40)"),
        (tv("maxvit_t"), (3, 32, 32), "cannot take images"),
        (tv("resnet18"), (40,), "takes images"),
        (tv("mobilenet_v2", small_stem=True), (3, 32, 32), "no stem that small_stem knows"),
        (timm_model("halonet26t"), (3, 64, 64), "made for images of 256 x 256"),
        (timm_model("test_vit", small_stem=True), (3, 32, 32), "no stem that small_stem knows"),
    ],
    ids=repr,
)
def test_what_an_architecture_cannot_do(model: LibraryModel, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(benchsuite.Unsupported) as caught:
        model.build(shape, 10)
    first, _, second = message.partition(" .* ")
    assert first in str(caught.value)
    assert second in str(caught.value)


def test_what_is_no_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimmModel, "create", lambda self, shape, classes: nn.Conv2d(3, 2, 3))
    with pytest.raises(
        benchsuite.Unsupported, match=r"is no classifier: its output for one image is \(1, 2, 6, 6\)"
    ):
        timm_model("resnet18").build((3, 8, 8), 10)


# Weights


def no_network(*_: object, **__: object) -> None:
    raise OSError("no network")


def test_pretrained_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", no_network)
    for model in (tv("squeezenet1_1", pretrained=True), timm_model("test_resnet", pretrained=True)):
        with pytest.raises(benchsuite.DataError, match=r'cannot be fetched .*no network.* weights = "path'):
            model.build((3, 64, 64), 10)


def test_pretrained_and_weights_exclude_each_other() -> None:
    with pytest.raises(benchsuite.DataError, match="not both"):
        tv("resnet18", pretrained=True, weights="x.pt").build((3, 32, 32), 10)


@pytest.mark.parametrize("architecture", ["resnet18", "googlenet"])
def test_pretrained_weights_fit_other_classes_and_channels(
    monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    import torchvision

    torch.manual_seed(0)
    options = {"init_weights": True, "aux_logits": True} if architecture == "googlenet" else {}
    source = torchvision.models.get_model(architecture, weights=None, **options)
    state = source.state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *a, **k: dict(state))
    first = "conv1.weight" if architecture == "resnet18" else "conv1.conv.weight"

    same = tv(architecture, pretrained=True).build((3, 64, 64), 1000).eval()
    x = torch.rand(2, 3, 64, 64)
    source.eval()
    source.transform_input = architecture == "googlenet"  # like torchvision for its own weights
    with torch.no_grad():
        assert torch.allclose(same(x), source(x), atol=1e-6)

    other = tv(architecture, pretrained=True).build((1, 64, 64), 7).state_dict()
    assert torch.allclose(other[first], state[first].sum(1, keepdim=True), atol=1e-6)
    assert other["fc.weight"].shape[0] == 7
    shared = [key for key in other if key != first and not key.startswith("fc.")]
    assert all(torch.equal(other[key], state[key]) for key in shared)


def test_pretrained_weights_for_another_image_size(monkeypatch: pytest.MonkeyPatch) -> None:
    state = tv("vit_b_32").build((3, 224, 224), 1000).state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *a, **k: dict(state))
    with pytest.raises(
        benchsuite.DataError, match=r"do not fit this image size: 1 of another shape .*pos_embedding"
    ):
        tv("vit_b_32", pretrained=True).build((3, 64, 64), 10)


def test_local_weights(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = timm_model("test_resnet").build((3, 32, 32), 10).state_dict()
    torch.save({"state_dict": state}, tmp_path / "net.pth")
    loaded = timm_model("test_resnet", weights=str(tmp_path / "net.pth"))
    again = loaded.build((3, 32, 32), 10).state_dict()
    assert all(torch.equal(again[key], state[key]) for key in state)
    with pytest.raises(benchsuite.DataError, match="tells 10 classes apart, the data set has 4"):
        loaded.build((3, 32, 32), 4)
    assert loaded.fingerprint()
