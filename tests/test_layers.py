"""Convolution arithmetic: for every legal configuration, not only the report's."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aelib.errors import AelibError
from aelib.models import AutoencoderConfig, SymmetricAutoencoder, kernels
from aelib.models.layers import (
    Conv,
    QuickConv2d,
    QuickConvTranspose2d,
    conv_size,
    linear_block,
    output_padding,
    stage_sizes,
)

REPORT_CONVS = {
    1: ((3, 2, 1), (3, 2, 1), (3, 1, 0)),
    2: ((5, 2, 1), (5, 2, 1), (3, 1, 1)),
    3: ((7, 2, 1), (5, 2, 1), (3, 1, 1)),
}

convs = st.builds(Conv, st.integers(1, 9), st.integers(1, 4), st.integers(0, 3))


@pytest.mark.parametrize(
    ("number", "sizes", "paddings"),
    [(1, [28, 14, 7, 5], [1, 1, 0]), (2, [28, 13, 6, 6], [1, 0, 0]), (3, [28, 12, 5, 5], [1, 1, 0])],
)
def test_the_reports_configurations(number, sizes, paddings):
    layers = [Conv(*conv) for conv in REPORT_CONVS[number]]
    assert stage_sizes(layers, instance_norm=True) == sizes
    assert [output_padding(size, conv) for size, conv in zip(sizes, layers, strict=False)] == paddings


@settings(deadline=None, max_examples=150)
@given(st.lists(convs, min_size=1, max_size=4), st.booleans())
def test_every_legal_decoder_has_the_shapes_of_its_encoder(layers, instance_norm):
    try:
        sizes = stage_sizes(layers, instance_norm=instance_norm)
    except AelibError:
        assume(False)
    config = AutoencoderConfig(
        conv=layers, channels=(2,) * len(layers), linear_units=4, latent_dim=2, instance_norm=instance_norm
    )
    model = SymmetricAutoencoder(config).eval()
    images = torch.rand(2, 1, 28, 28)
    seen: dict[str, list[int]] = {"encoder": [], "decoder": []}
    hooks = [("encoder", layer) for layer in model.features if isinstance(layer, torch.nn.Conv2d)]
    hooks += [("decoder", layer) for layer in model.decoder[-1] if isinstance(layer, torch.nn.ConvTranspose2d)]
    for part, layer in hooks:
        layer.register_forward_hook(lambda _, __, out, part=part: seen[part].append(out.shape[-1]))
    assert model(images).shape == images.shape
    assert seen["encoder"] == sizes[1:]
    assert seen["decoder"] == sizes[-2::-1]


@pytest.mark.parametrize(
    ("layers", "instance_norm", "words"),
    [
        ([(9, 9, 0), (9, 1, 0)], False, "convolution 2 .* does not fit its 3×3 input"),
        ([(3, 0, 1)], True, "convolution 1 .* at least 1"),
        ([(3, 1, 3)], True, "padding must be smaller than the kernel"),
        ([(28, 1, 0)], True, "instance norm would turn into zeros"),
    ],
)
def test_illegal_convolutions_are_named(layers, instance_norm, words):
    with pytest.raises(AelibError, match=words):
        stage_sizes([Conv(*layer) for layer in layers], instance_norm=instance_norm)
    if not instance_norm:
        assert stage_sizes([Conv(28, 1, 0)], instance_norm=False) == [28, 1]


@settings(deadline=None, max_examples=150)
@given(convs, st.integers(1, 12), st.integers(1, 3))
def test_as_products_convolutions_are_those_of_pytorch(conv, size, channels):
    """From one channel, and back to one; forward, and each gradient."""
    assume(conv.padding < conv.kernel and conv_size(size, conv) >= 1)
    pairs = [
        (QuickConv2d(1, channels, *conv), torch.nn.Conv2d, size),
        (
            QuickConvTranspose2d(channels, 1, *conv, output_padding=output_padding(size, conv)),
            torch.nn.ConvTranspose2d,
            conv_size(size, conv),
        ),
    ]
    for layer, theirs, height in pairs:
        layer.double()
        images = torch.randn(3, layer.in_channels, height, height, dtype=torch.double, requires_grad=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernels, "_by_products", lambda _: True)
            found = layer(images)
        expected = theirs.forward(layer, images)
        torch.testing.assert_close(found, expected)
        weights, wanted = torch.randn_like(found), [images, *layer.parameters()]
        gradients = [torch.autograd.grad((each * weights).sum(), wanted) for each in (found, expected)]
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_convolutions_are_products_where_it_helps(bf16, compiled):
    """Compiled, in float32, from one channel or to one; in bf16 what is padded too widely is padded by hand."""
    convolutions: list[tuple] = []

    def compiler(graph, _):
        convolutions.extend(node.args for node in graph.graph.nodes if "conv" in str(node.target))
        return graph

    torch.compiler.reset()
    one, wide = torch.rand(2, 1, 28, 28), torch.rand(2, 3, 14, 14)
    cases = [
        (QuickConv2d(1, 3, 3, 2, 1), one, True),
        (QuickConvTranspose2d(3, 1, 3, 2, 1, output_padding=1), wide, True),
        (QuickConv2d(3, 3, 3, 2, 2), wide, False),
        (QuickConvTranspose2d(3, 3, 3, 2, 1), wide, False),
    ]
    for layer, images, thin in cases:
        convolutions.clear()
        run = torch.compile(layer, backend=compiler) if compiled else layer
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            found = run(images)
        expected = super(type(layer), layer).forward(images)
        near = {"rtol": 2e-2, "atol": 2e-2} if bf16 else {"rtol": 1e-5, "atol": 1e-5}
        torch.testing.assert_close(found.float(), expected, **near)
        assert len(convolutions) == (compiled and not (thin and not bf16))
        if convolutions and layer.padding == (2, 2):
            assert convolutions[0][4] == (1 if bf16 else (2, 2))


@pytest.mark.parametrize("bf16", [False, True])
def test_dropout_and_activation_are_those_of_pytorch(bf16):
    """In one function with a gradient of its own; in PyTorch, two modules with a mask each."""
    block = linear_block(6, 50, 0.3)
    images, weights = torch.randn(40, 6, requires_grad=True), torch.randn(40, 50)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        torch.manual_seed(1)
        found = block(images)
        torch.manual_seed(1)
        kept = torch.rand(40, 50) >= 0.3
        expected = torch.nn.functional.leaky_relu(block[0](images) * kept / 0.7)
    assert 0.6 < kept.float().mean() < 0.8
    near = {"rtol": 2e-2, "atol": 2e-2} if bf16 else {}
    torch.testing.assert_close(found.float(), expected.float(), **near)
    wanted = [images, *block.parameters()]
    gradients = [torch.autograd.grad((each * weights).sum(), wanted) for each in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, **({"rtol": 2e-2, "atol": 2e-1} if bf16 else {}))
    assert torch.equal(block.eval()(images), torch.nn.functional.leaky_relu(block[0](images)))


def test_instance_norm_by_rows_is_instance_norm():
    """What a GPU computes in its place: the same output, and the same gradient."""
    for x in (torch.randn(3, 5, 7, 6), 1e-4 * torch.randn(3, 5, 7, 6) + 1):  # where the variance is far below eps, too
        x, weights = x.double().requires_grad_(), torch.randn(3, 5, 7, 6).double()
        found, expected = kernels._by_rows(x, 1e-5), torch.nn.functional.instance_norm(x, eps=1e-5)
        torch.testing.assert_close(found, expected)
        gradients = [torch.autograd.grad((each * weights).sum(), x) for each in (found, expected)]
        torch.testing.assert_close(*gradients)
