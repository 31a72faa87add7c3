"""Losses, judges and the balancer against values worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.errors import UsageError
from tokenizer.training import losses
from tokenizer.training.balancer import Balancer
from tokenizer.training.networks.adversarial import (
    Judgement,
    discriminator_hinge,
    feature_matching,
    generator_hinge,
)
from tokenizer.training.networks.discriminator import MultiScaleDiscriminator, windows_at
from tokenizer.training.workers import Workers

CPU = Workers("cpu")


def audio(seed: int = 0, samples: int = 8_000, channels: int = 2) -> torch.Tensor:
    return torch.randn(2, channels, samples, generator=torch.Generator().manual_seed(seed))


def test_mel_filters_are_triangles_on_the_mel_scale() -> None:
    filters = losses.mel_filters(48_000, 2048)
    assert filters.shape == (64, 1025)
    # By hand, with mel(f) = 2595 log10(1 + f / 700): corners are 65 equal steps of mel(24000) / 65
    # = 61.83 mel.
    step = 2595 * math.log10(1 + 24_000 / 700) / 65
    corner = [700 * (10 ** (k * step / 2595) - 1) for k in range(66)]
    assert corner[1] == pytest.approx(39.48, abs=0.05) and corner[-1] == pytest.approx(24_000)
    for band in (10, 30, 63):
        low, centre, high = corner[band : band + 3]
        for number in range(1025):
            hertz = number * 24_000 / 1024
            by_hand = max(
                0.0, min((hertz - low) / (centre - low), (high - hertz) / (high - centre))
            )
            assert filters[band, number].item() == pytest.approx(by_hand, abs=1e-4)


def test_a_tone_lights_the_band_that_holds_it() -> None:
    tone = torch.sin(2 * math.pi * 1000 * torch.arange(48_000) / 48_000)[None, None]
    mel = losses.MelLoss(48_000).spectrogram(tone, 2048).mean(1)[0]
    step = 2595 * math.log10(1 + 24_000 / 700) / 65
    assert int(mel.argmax()) == round(2595 * math.log10(1 + 1000 / 700) / step) - 1
    # A full-scale tone through a Hann window of norm sqrt(3/8 N): its peak bin is (N / 4) / sqrt(3
    # N / 8).
    spectrum = losses.stft(tone, 2048).abs().mean(1)
    bins = 1000 / (48_000 / 2048)
    assert spectrum[0, round(bins)].item() == pytest.approx(512 / math.sqrt(768), rel=0.1)


@pytest.mark.parametrize(("window", "samples"), [(32, 1000), (512, 4801), (2048, 48_000)])
def test_stft_and_its_gradient_are_those_of_torch(window: int, samples: int) -> None:
    x = audio(samples=samples).requires_grad_()
    hann = torch.hann_window(window)
    flat = x.reshape(-1, samples)
    theirs = torch.stft(
        flat, window, window // 4, window=hann, pad_mode="reflect", return_complex=True
    )
    theirs = theirs.transpose(1, 2) / hann.pow(2).sum().sqrt()
    ours = losses.stft(x, window)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    weights = torch.randn(
        torch.view_as_real(ours).shape, generator=torch.Generator().manual_seed(1)
    )
    gradients = [
        torch.autograd.grad((torch.view_as_real(s) * weights).sum(), x)[0] for s in (ours, theirs)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["time_l1", "complex_stft"])
def test_losses_are_zero_for_equal_and_grow_with_the_error(name: str) -> None:
    loss, x, noise = getattr(losses, name), audio(), audio(1)
    assert loss(x, x).item() == 0.0
    # Both are linear in the error.
    assert loss(x + 0.2 * noise, x).item() == pytest.approx(
        2 * loss(x + 0.1 * noise, x).item(), rel=1e-4
    )


def test_time_and_relative_error_by_hand() -> None:
    target = torch.tensor([[[1.0, -1.0, 1.0, -1.0]]])
    decoded = torch.tensor([[[0.9, -0.9, 0.9, -0.9]]])
    assert losses.time_l1(decoded, target).item() == pytest.approx(0.1)
    assert losses.relative_error(decoded, target).item() == pytest.approx(-2.0, abs=1e-3)  # 20 dB
    assert losses.relative_error(torch.zeros_like(target), target).item() == pytest.approx(
        0.0, abs=1e-3
    )


def test_complex_stft_sees_phase_and_mel_does_not() -> None:
    x, mel = audio(samples=16_000), losses.MelLoss(48_000)
    assert mel(-x, x).item() == pytest.approx(mel(x, x).item(), abs=1e-4)
    assert mel(x, x).item() < 1e-3
    assert losses.complex_stft(-x, x).item() > 0.5


def test_mel_loss_of_half_the_level_by_hand() -> None:
    """L1 of half the magnitudes, and log10(2) in every band that is not empty, far above the
    floor."""
    x, mel = 100 * audio(samples=16_000), losses.MelLoss(48_000, (2048,))
    magnitudes = mel.spectrogram(x, 2048)
    assert (losses.mel_filters(48_000, 2048).sum(1) > 0).all()
    by_hand = 0.5 * magnitudes.mean().item() + math.log10(2)
    assert mel(0.5 * x, x).item() == pytest.approx(by_hand, rel=1e-3)


def test_mel_loss_has_finite_gradients_at_silence() -> None:
    decoded = torch.zeros(1, 2, 8_000, requires_grad=True)
    losses.MelLoss(48_000)(decoded, torch.zeros(1, 2, 8_000)).backward()
    assert decoded.grad is not None and torch.isfinite(decoded.grad).all()


def test_si_snr_by_hand() -> None:
    target = torch.tensor([[[1.0, -1.0, 1.0, -1.0]]])
    noise = torch.tensor([[[1.0, 1.0, -1.0, -1.0]]])  # orthogonal, of the same energy
    assert losses.si_snr(3 * (target + 0.1 * noise), target).item() == pytest.approx(20.0, abs=1e-4)
    assert losses.si_snr(0.5 * target + 7, target).item() > 100


def test_hinge_losses_by_hand() -> None:
    real = [Judgement(torch.tensor([2.0, 0.5]), []), Judgement(torch.tensor([-1.0]), [])]
    fake = [Judgement(torch.tensor([-3.0, 0.0]), []), Judgement(torch.tensor([1.0]), [])]
    # First judge: mean(0, 0.5) + mean(0, 1) = 0.75; second: 2 + 2 = 4.
    assert discriminator_hinge(real, fake).item() == pytest.approx((0.75 + 4) / 2)
    # First: mean(4, 1) = 2.5; second: 0.
    assert generator_hinge(fake).item() == pytest.approx(1.25)


def test_feature_matching_is_relative_and_spares_the_judge() -> None:
    theirs, ours = torch.tensor([2.0, -4.0]), torch.tensor([1.0, -1.0], requires_grad=True)
    theirs.requires_grad_()
    loss = feature_matching([Judgement(theirs, [theirs])], [Judgement(ours, [ours])])
    assert loss.item() == pytest.approx(2.0 / 3.0)  # mean(1, 3) / mean(2, 4)
    loss.backward()
    assert theirs.grad is None and ours.grad is not None
    scaled = feature_matching([Judgement(theirs, [10 * theirs])], [Judgement(ours, [10 * ours])])
    assert scaled.item() == pytest.approx(loss.item())


def test_the_discriminator_judges_every_scale_and_hears_both_channels_and_phase() -> None:
    torch.manual_seed(0)
    judge, x = MultiScaleDiscriminator(48_000, filters=2), audio(samples=12_000)
    assert windows_at(48_000) == (4096, 2048, 1024, 512, 256) and windows_at(24_000) == (
        2048,
        1024,
        512,
        256,
        128,
    )
    judged = judge(x)
    assert len(judged) == 5 and all(len(judgement.features) == 5 for judgement in judged)
    assert judged[0].logits.shape[:3] == (4, 1, (12_000 - 4096) // 1024 + 1), (
        "each channel, and no frame beyond the ends"
    )
    left = judge(x[:, :1])[0]
    assert torch.allclose(judged[0].logits[::2], left.logits, atol=1e-5), "as if it were alone"
    for changed in (-x, x.flip(1), x * torch.tensor([1.0, 0.0])[:, None]):
        assert not torch.allclose(judge(changed)[0].logits, judged[0].logits, atol=1e-4)
    assert torch.allclose(
        judge(x[:1])[2].logits, judged[2].logits[:2], atol=1e-5
    )  # examples are judged alone


def gradients(balancer: Balancer, output: torch.Tensor, a: float, b: float) -> torch.Tensor:
    """One step with losses whose gradients are `a` on the first channel and `b` on the second."""
    leaf = output.detach().requires_grad_()
    return balancer.gradient({"time": a * leaf[:, 0].sum(), "mel": b * leaf[:, 1].sum()}, leaf, CPU)


@settings(max_examples=25, deadline=None)
@given(a=st.floats(1e-4, 1e4), b=st.floats(1e-4, 1e4))
def test_weights_are_shares_of_the_gradient_whatever_the_scales(a: float, b: float) -> None:
    gradient = gradients(Balancer({"time": 3.0, "mel": 1.0}), torch.zeros(2, 2, 16), a, b)
    first, second = gradient[:, 0].norm(dim=1), gradient[:, 1].norm(dim=1)
    assert torch.allclose(first, torch.full((2,), 0.75), rtol=1e-4)
    assert torch.allclose(second, torch.full((2,), 0.25), rtol=1e-4)


def test_the_running_norm_by_hand() -> None:
    balancer = Balancer({"time": 1.0, "mel": 1.0}, decay=0.5)
    output = torch.zeros(1, 2, 4)  # a gradient of g on four samples has norm 2 g
    gradients(balancer, output, 1.0, 1.0)
    second = gradients(balancer, output, 3.0, 1.0)
    # Norms 2 then 6 with decay 0.5: (0.5 * 2 + 6) / (0.5 + 1) = 14 / 3; the step's gradient is 3 /
    # (14 / 3) / 2.
    assert second[0, 0, 0].item() == pytest.approx(0.5 * 3 / (14 / 3))
    resumed = Balancer({"time": 1.0, "mel": 1.0}, decay=0.5)
    resumed.restore(balancer.state())
    assert torch.equal(gradients(resumed, output, 5.0, 2.0), gradients(balancer, output, 5.0, 2.0))


def test_without_balancing_weights_multiply() -> None:
    gradient = gradients(
        Balancer({"time": 3.0, "mel": 1.0}, balanced=False), torch.zeros(1, 2, 4), 2.0, 5.0
    )
    assert torch.equal(gradient[0, :, 0], torch.tensor([6.0, 5.0]))


@pytest.mark.parametrize("weights", [{}, {"mel": -1.0}, {"mel": 0.0}])
def test_useless_weights_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="loss weights"):
        Balancer(weights)
