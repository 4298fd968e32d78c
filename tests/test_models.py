"""What `reidlib.models` says of methods that match images with captions holds for all of them."""

import sys
from dataclasses import is_dataclass
from types import SimpleNamespace

import pytest
import torch
from examples import WORDS, captions, images, masks, phrases
from torch import nn

from reidlib.models import imgnet, ssan
from reidlib.models.compared import cmpm, dual_path, mia, scan, vitaa
from reidlib.models.parts.codes import concatenate, fuse

SIZE = {"ids": 4, "vocabulary": WORDS, "width": 0.0625, "depths": (1, 1, 1, 1)}
CONFIGS = {
    "ssan": ssan.SSANConfig(**SIZE, K=3, V=12, M=20, M_=8, N=10),
    "imgnet": imgnet.IMGNetConfig(**SIZE, backbone="resnet50", k=3, P=32, E=12),
    "scan": scan.SCANConfig(**SIZE, K=3, V=12, M=20),
    "mia": mia.MIAConfig(**SIZE, k=3, E=12, P=20, part=8),
    "dual_path": dual_path.DualPathConfig(**SIZE, V=12, text_units=(2, 2, 1, 1)),
    "cmpm": cmpm.CMPMConfig(**SIZE, V=12, H=10, P=16),
    "vitaa": vitaa.ViTAAConfig(**SIZE, V=12, H=10, P=16),
}
LAST = SimpleNamespace(name="all")
every = pytest.mark.parametrize("name", list(CONFIGS))


def build(name):
    torch.manual_seed(0)
    config = CONFIGS[name]
    module = sys.modules[type(config).__module__]
    return module, module.NETWORK(config)


def batch(labels=(0, 1, 1, 3), device="cpu"):
    tokens, lengths, offsets = phrases()
    words, counts = captions([4, 6, 3, 5])
    weak, weak_counts = captions([2, 5, 4, 7], seed=3)
    text = words.to(device), counts, tokens.to(device), lengths, offsets
    return SimpleNamespace(
        images=images().to(device),
        text=text,
        weak=(weak.to(device), weak_counts),
        labels=torch.tensor(labels, device=device),
        image_ids=torch.arange(4, device=device),
        masks=masks().to(device),
    )


def text_of(module, text):
    return text if module.PHRASES else text[:2]


@every
def test_a_module_has_the_names_of_a_method(name):
    module, model = build(name)
    config = CONFIGS[name]
    assert is_dataclass(config)
    assert (config.backbone, config.last_stride) in (("resnet50", 1), ("resnet50", 2))
    assert isinstance(model.backbone, nn.Module)
    assert isinstance(module.PHRASES, bool)
    assert set(module.NEEDS) <= {"masks"}
    assert module.losses(model, batch(), LAST)
    codes = model.encode_images(images()), model.encode_text(*text_of(module, batch().text))
    scores = module.similarities(*codes, config)
    assert set(scores) == {s for weights in module.evaluations(config).values() for s in weights}
    assert all(s.shape == (4, 4) and not s.requires_grad for s in scores.values())
    assert model.text_cost(48) > 0


@every
def test_every_parameter_is_trained(name):
    module, model = build(name)
    terms = module.losses(model, batch(), LAST)
    assert all(term.dim() == 0 for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


@every
def test_it_learns_to_match(name):
    """Thirty steps on one batch bring every matched pair's score above the others'."""
    module, model = build(name)
    pairs = batch(labels=(0, 1, 2, 3))
    if name == "dual_path":  # reads what goes along, and is tested with these captions here
        pairs.weak = pairs.text[:2]
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        loss = torch.stack(list(module.losses(model.train(), pairs, LAST).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    with torch.no_grad():  # batch statistics of the batch itself: few steps have set the others
        codes = model.encode_images(pairs.images), model.encode_text(*text_of(module, pairs.text))
    whole = list(module.evaluations(model.cfg).values())[-1]
    scores = fuse(module.similarities(*codes, model.cfg), whole)
    assert scores.argmax(1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "imgnet"])
def test_codes_do_not_depend_on_the_batch(name):
    """In the test stage, one at a time and all at once give the same scores."""
    module, model = build(name)
    model.eval()
    tokens, lengths, *more = batch().text
    with torch.no_grad():
        together = module.similarities(
            model.encode_images(images()), model.encode_text(*text_of(module, batch().text))
        )
        alone = []
        for i, n in enumerate(lengths.tolist()):
            rows = slice(int(more[2][i]), int(more[2][i + 1]))
            own = more[0][rows], more[1][rows], more[2][i : i + 2]
            text = tokens[i : i + 1, :n], lengths[i : i + 1], *own
            alone.append(model.encode_text(*text_of(module, text)))
        singles = [model.encode_images(images()[i : i + 1]) for i in range(4)]
        apart = module.similarities(concatenate(singles), concatenate(alone))
    for key, scores in together.items():
        torch.testing.assert_close(apart[key], scores)


@every
def test_an_epoch_is_drawn_from_the_generator_alone(name):
    module, model = build(name)
    labels = torch.arange(24) // 6
    image_of = torch.arange(24) // 2
    split = SimpleNamespace(labels=labels, image_of=image_of)

    def epoch(seed):
        generator = torch.Generator().manual_seed(seed)
        return list(module.draw(model, split, generator, batch_size=8))

    drawn = epoch(0)
    assert [c.tolist() for c, _ in drawn] == [c.tolist() for c, _ in epoch(0)]
    assert [c.tolist() for c, _ in drawn] != [c.tolist() for c, _ in epoch(1)]
    assert all(len(captions) == 8 for captions, _ in drawn)
    seen = torch.cat([captions for captions, _ in drawn])
    if name == "dual_path":
        assert len(image_of[seen].unique()) == len(seen) == 8
    elif name != "vitaa":
        assert len(seen.unique()) == 24
    for chosen, weak in drawn:
        assert (weak is not None) == (name in ("ssan", "dual_path"))
        if weak is not None:
            assert torch.equal(labels[weak], labels[chosen])
        if name == "ssan":
            assert (image_of[weak] != image_of[chosen]).all()
        if name == "vitaa":
            assert (labels[chosen].bincount(minlength=4) % vitaa.PER_PERSON == 0).all()


@pytest.mark.parametrize("name", ["imgnet", "mia", "dual_path"])
def test_first_stage_has_identity_losses_only(name):
    module, model = build(name)
    assert list(module.losses(model, batch(), SimpleNamespace(name="stage 1"))) == ["id_v", "id_t"]
    assert len(module.losses(model, batch(), SimpleNamespace(name="stage 2"))) > 2


def test_settings_of_the_comparison_reach_the_scores():
    for name, change in (("scan", {"lambda_softmax": 30.0}), ("imgnet", {"tolerance": 9e-4})):
        module, model = build(name)
        model.eval()
        codes = model.encode_images(images()), model.encode_text(*text_of(module, batch().text))
        changed = module.similarities(*codes, type(model.cfg)(**{**vars(model.cfg), **change}))
        usual = module.similarities(*codes)
        assert all(
            torch.equal(s, usual[key]) for key, s in module.similarities(*codes, model.cfg).items()
        )
        if name == "scan":
            assert not torch.equal(changed["Sl"], usual["Sl"])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@every
def test_cuda_trains_and_equals_cpu(name):
    module, model = build(name)
    model.eval()
    scores = []
    for device in ("cpu", "cuda"):
        pairs = batch(device=device)
        model.to(device)
        with torch.no_grad():
            codes = (
                model.encode_images(pairs.images),
                model.encode_text(*text_of(module, pairs.text)),
            )
            scores.append(module.similarities(*codes, model.cfg))
    for key, expected in scores[0].items():
        torch.testing.assert_close(scores[1][key].cpu(), expected, atol=2e-3, rtol=2e-3)
    with torch.autocast("cuda", torch.bfloat16):
        terms = module.losses(model.train(), batch(device="cuda"), LAST)
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
