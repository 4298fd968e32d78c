import hashlib
import subprocess
import sys

import pytest
import torch
import torchvision
from torch import nn

from reidlib.errors import DataError, UsageError
from reidlib.models.parts import backbones
from reidlib.models.parts.backbones import (
    backbone,
    imagenet_path,
    load_imagenet,
    resnet50,
    scaled_channels,
    vgg16,
)


@pytest.fixture
def torch_home(tmp_path, monkeypatch):
    """An empty $TORCH_HOME; returns the folder that weight files belong in."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "last_stride", "shape"),
    [
        ("vgg16", 2, (512, 24, 8)),
        ("resnet50", 1, (2048, 24, 8)),
        ("resnet50", 2, (2048, 12, 4)),
    ],
)
def test_full_size_maps_and_parameters(name, last_stride, shape):
    with torch.device("meta"):  # shapes and counts only
        body = backbone(name, last_stride=last_stride)
        assert body(torch.empty(2, 3, 384, 128)).shape == (2, *shape)
    assert body.out_channels == shape[0]
    assert parameters(body) == {"vgg16": 14_714_688, "resnet50": 23_508_032}[name]


def test_same_features_as_torchvision():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 64, 32)
    theirs = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])
    ours = vgg16()
    ours.features.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs[:-1](x))

    theirs = torchvision.models.vgg16_bn().eval().features
    ours = vgg16(batch_norm=True).eval()
    ours.features.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs[:-1](x))

    theirs = torchvision.models.resnet50().eval()
    ours = resnet50().eval()
    state = theirs.state_dict()
    ours.load_state_dict({k: v for k, v in state.items() if not k.startswith("fc.")})
    expected = nn.Sequential(*list(theirs.children())[:-2])(x)
    torch.testing.assert_close(ours(x), expected)


@pytest.mark.parametrize("stride", (1, 2))
def test_a_block_is_torchvisions(stride):
    def trained(Block: type[nn.Module]) -> list[torch.Tensor]:
        torch.manual_seed(0)
        block = Block(8, 4, stride, nn.Conv2d(8, 16, 1, stride=stride, bias=False))
        maps = block(torch.randn(3, 8, 6, 4))
        (maps * torch.randn_like(maps)).sum().backward()
        gradients = [p.grad for p in block.parameters()]
        return [maps, *block.state_dict().values(), *gradients]

    theirs = trained(torchvision.models.resnet.Bottleneck)
    for ours, expected in zip(trained(backbones.Bottleneck), theirs, strict=True):
        assert torch.equal(ours, expected)


def test_a_backbone_is_built_without_the_time_that_importing_torchvision_takes():
    code = (
        "import sys; from reidlib.models.parts.backbones import backbone; "
        "backbone('resnet50', 0.125, (1, 1, 1, 1)); print('torchvision' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_pooling_before_relu_changes_no_gradient():
    torch.manual_seed(0)
    ours = vgg16(0.125, (1, 1, 1, 1, 1))
    layers = []
    for module in ours.features:  # back to torchvision's order
        layers.append(module)
        if isinstance(module, nn.ReLU) and isinstance(layers[-2], nn.MaxPool2d):
            layers[-1], layers[-2] = layers[-2], nn.ReLU()
    theirs = nn.Sequential(*layers)
    x = torch.randn(2, 3, 32, 32)
    gradients = []
    for body in (ours, theirs):
        ours.zero_grad()
        body(x).square().sum().backward()
        gradients.append([p.grad.clone() for p in ours.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("name", ["vgg16", "resnet50"])
def test_narrow_members(name):
    full = backbone(name)
    stages = 5 if name == "vgg16" else 4
    small = backbone(name, width=0.25, depths=(1,) * stages)
    assert small.out_channels == full.out_channels // 4
    assert small(torch.randn(2, 3, 64, 32)).shape[:2] == (2, small.out_channels)
    if name == "resnet50":
        assert set(small.state_dict()) < set(full.state_dict())
    assert (small(torch.randn(1, 3, 64, 32)) >= 0).all()


def test_channels_are_multiples_of_8():
    assert [scaled_channels(c, 0.3) for c in (64, 128, 512)] == [16, 40, 152]
    assert scaled_channels(64, 0.01) == 8
    assert scaled_channels(512, 1) == 512


def test_plain_vgg_keeps_its_signal_and_learns_from_scratch():
    torch.manual_seed(0)
    x = torch.randn(8, 3, 32, 32)
    body = vgg16(0.25)  # all 13 convolutions, no normalization
    assert 1e-2 < body(x).std() < 10
    head = nn.Linear(body.out_channels, 4)
    labels = torch.arange(8) % 4
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], 1e-3)
    losses = []
    for _ in range(60):
        loss = nn.functional.cross_entropy(head(body(x).mean((2, 3))), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "alexnet"},
        {"name": "vgg16", "depths": (1, 1, 1)},
        {"name": "resnet50", "depths": (1, 0, 1, 1)},
        {"name": "resnet50", "last_stride": 3},
        {"name": "vgg16", "width": 0.0},
    ],
)
def test_bad_arguments(arguments):
    with pytest.raises(UsageError):
        backbone(**arguments)


def test_imagenet_weights_load_from_a_local_file(torch_home):
    model = torchvision.models.resnet50()
    torch.save(model.state_dict(), torch_home / "resnet50-0676ba61.pth")
    body = resnet50(last_stride=1)
    load_imagenet(body, "resnet50")
    assert torch.equal(body.layer4[2].conv3.weight, model.layer4[2].conv3.weight)
    assert torch.equal(body.bn1.running_var, model.bn1.running_var)
    with pytest.raises(DataError, match=r"resnet50-0676ba61\.pth: SHA-256 is .* expected 0676ba61"):
        load_imagenet(body, "resnet50", verify=True)
    with pytest.raises(DataError, match="full-size resnet50"):
        load_imagenet(resnet50(0.25), "resnet50")


def test_verified_weights_load(torch_home, monkeypatch):
    model = nn.Module()
    model.features = vgg16(0.125).features
    model.classifier = nn.Linear(8, 8)
    torch.save(model.state_dict(), torch_home / "made")
    digest = hashlib.sha256((torch_home / "made").read_bytes()).hexdigest()
    name = f"vgg16-{digest[:8]}.pth"
    (torch_home / "made").rename(torch_home / name)
    monkeypatch.setitem(backbones.IMAGENET_FILES, ("vgg16", "V1"), name)
    body = vgg16(0.125)
    load_imagenet(body, "vgg16", verify=True)
    assert torch.equal(body.features[0].weight, model.features[0].weight)


def test_missing_weights_say_where_to_put_them(torch_home):
    with pytest.raises(DataError) as error:
        load_imagenet(vgg16(0.125), "vgg16")
    for part in ("vgg16-397923af.pth", str(torch_home), "397923af", "TORCH_HOME"):
        assert part in str(error.value)


@pytest.mark.parametrize("content", [b"", b"not a weight file", b"PK\x03\x04 cut short"])
def test_damaged_weights_name_the_file(torch_home, content):
    (torch_home / "vgg16-397923af.pth").write_bytes(content)
    with pytest.raises(DataError, match=r"vgg16-397923af\.pth"):
        load_imagenet(vgg16(0.125), "vgg16")


def test_weights_with_code_in_them_are_refused(torch_home):
    torch.save({"features.0.weight": nn.Linear(2, 2)}, torch_home / "vgg16-397923af.pth")
    with pytest.raises(DataError, match=r"vgg16-397923af\.pth"):
        load_imagenet(vgg16(0.125), "vgg16")


def test_unknown_weights():
    with pytest.raises(UsageError, match="V3"):
        imagenet_path("resnet50", "V3")
