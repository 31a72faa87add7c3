"""Codebooks that learn: against values worked by hand and against transformers' own inference
path."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tokenizer.errors import UsageError
from tokenizer.training.networks.model import new_model
from tokenizer.training.networks.quantizer import QuantizerTrainer, kmeans, nearest
from tokenizer.training.presets import find_preset
from tokenizer.training.workers import Workers

CPU = Workers("cpu")
DIM = 16


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model() -> Any:
    return new_model(find_preset("tiny"), 0)


def trained(vectors: torch.Tensor) -> tuple[Any, QuantizerTrainer]:
    net = model()
    quantizer = QuantizerTrainer(net)
    assert not quantizer.initialised
    quantizer.initialise(vectors, generator(), 300)
    assert quantizer.initialised
    return net, quantizer


def test_kmeans_finds_clusters_that_are_there() -> None:
    centres = 100 * torch.eye(8, DIM)
    vectors = centres.repeat_interleave(50, 0) + torch.randn(400, DIM, generator=generator())
    means, counts = kmeans(vectors, 8, generator(3), iterations=30)
    assert counts.tolist() == [50] * 8
    assert torch.cdist(means, centres).min(1).values.max() < 1.0
    assert torch.allclose(means[nearest(vectors, means)].mean(0), vectors.mean(0), atol=1e-3)


def test_kmeans_step_by_hand() -> None:
    """One iteration from any two of three points on a line ends in a mean of what is nearest to
    each."""
    vectors = torch.tensor([[0.0], [1.0], [10.0]])
    means, counts = kmeans(vectors, 2, generator(1), iterations=10)
    assert sorted(means[:, 0].tolist()) == [0.5, 10.0] and sorted(counts.tolist()) == [1.0, 2.0]


def test_too_few_vectors_are_refused() -> None:
    with pytest.raises(UsageError, match="k-means of 64 codes"):
        kmeans(torch.randn(63, DIM), 64, generator())


def test_codes_and_values_are_those_of_transformers() -> None:
    vectors = torch.randn(4000, DIM, generator=generator())
    net, quantizer = trained(vectors)
    embeddings = torch.randn(3, DIM, 40, generator=generator(1))
    for bandwidth, levels in ((0.9, 1), (1.8, 2)):
        assert quantizer.levels_at(bandwidth) == levels
        quantized = quantizer(embeddings, levels)
        assert torch.equal(quantized.codes, net.quantizer.encode(embeddings, bandwidth))
        assert torch.allclose(quantized.output, net.quantizer.decode(quantized.codes), atol=1e-5)


def test_residuals_shrink_level_by_level() -> None:
    vectors = torch.randn(4000, DIM, generator=generator())
    _, quantizer = trained(vectors)
    embeddings = vectors.T[None, :, :500]
    errors = [(quantizer(embeddings, n).output - embeddings).pow(2).mean().item() for n in (1, 2)]
    assert errors[1] < 0.8 * errors[0] < 0.8


def test_the_gradient_goes_straight_through_and_commitment_pulls_to_the_code() -> None:
    _, quantizer = trained(torch.randn(4000, DIM, generator=generator()))
    embeddings = torch.randn(2, DIM, 5, generator=generator(1)).requires_grad_()
    weight = torch.randn(2, DIM, 5, generator=generator(2))
    quantized = quantizer(embeddings, 1)
    (straight,) = torch.autograd.grad(
        (quantized.output * weight).sum(), embeddings, retain_graph=True
    )
    assert torch.allclose(straight, weight)
    (pull,) = torch.autograd.grad(quantized.commitment, embeddings)
    by_hand = 2 * (embeddings - quantized.output).detach() / embeddings.numel()
    assert torch.allclose(pull, by_hand, atol=1e-6)
    assert quantized.commitment.item() == pytest.approx(
        (embeddings - quantized.output).pow(2).mean().item(), rel=1e-4
    )


def test_easing_in_passes_the_other_examples_as_they_are() -> None:
    _, quantizer = trained(torch.randn(4000, DIM, generator=generator()))
    embeddings = torch.randn(2, DIM, 5, generator=generator(1))
    mixed = quantizer(embeddings, 2, torch.tensor([True, False])).output
    assert torch.allclose(mixed[1], embeddings[1]) and torch.allclose(
        mixed[0], quantizer(embeddings, 2).output[0]
    )
    assert not torch.allclose(mixed[0], embeddings[0])


def test_the_moving_average_by_hand() -> None:
    """Decay 0.5; code 0 at the origin with size 2 gets two vectors of ones: size 2, sum 1, so it
    moves to one half."""
    net = model()
    codebook = net.quantizer.layers[0].codebook
    codebook.embed.copy_(10.0 * torch.arange(64.0)[:, None].expand(-1, DIM))
    codebook.embed_avg.copy_(2 * codebook.embed)
    codebook.cluster_size.fill_(2.0)
    quantizer = QuantizerTrainer(net, decay=0.5, dead=0.0)
    embeddings = torch.ones(1, DIM, 2)
    quantizer.update(embeddings, torch.zeros(1, 1, 2, dtype=torch.long), generator(), CPU)
    assert codebook.cluster_size[:2].tolist() == [2.0, 1.0]
    assert codebook.embed_avg[0].tolist() == pytest.approx([1.0] * DIM)
    assert codebook.embed[0].tolist() == pytest.approx([0.5] * DIM, rel=1e-4)
    # A code that nothing chose halves its size and its sum, so it stays where it is.
    assert codebook.embed[5].tolist() == pytest.approx([50.0] * DIM, rel=1e-4)


def test_only_the_levels_that_were_used_move() -> None:
    net, quantizer = trained(torch.randn(4000, DIM, generator=generator()))
    before = net.quantizer.layers[1].codebook.embed.clone()
    embeddings = torch.randn(4, DIM, 50, generator=generator(1))
    quantizer.update(embeddings, quantizer(embeddings, 1).codes, generator(), CPU)
    assert torch.equal(net.quantizer.layers[1].codebook.embed, before)
    quantizer.update(embeddings, quantizer(embeddings, 2).codes, generator(), CPU)
    assert not torch.equal(net.quantizer.layers[1].codebook.embed, before)


def test_dead_codes_come_back_as_vectors_of_the_batch_and_the_living_stay() -> None:
    net, quantizer = trained(torch.randn(4000, DIM, generator=generator()))
    codebook = net.quantizer.layers[0].codebook
    codebook.cluster_size.fill_(5.0)
    codebook.embed_avg.copy_(5.0 * codebook.embed)
    codebook.cluster_size[:3] = 1e-3
    codebook.embed[:3] = 1e4
    codebook.embed_avg[:3] = 10.0
    embeddings = torch.randn(2, DIM, 150, generator=generator(1))
    replaced = quantizer.update(embeddings, quantizer(embeddings, 1).codes, generator(), CPU)
    vectors = embeddings.transpose(1, 2).reshape(-1, DIM)
    assert replaced == 3
    assert torch.cdist(codebook.embed[:3], vectors).min(1).values.max() < 1e-2
    threshold = 0.2 * 300 / 64
    assert codebook.cluster_size[:3].tolist() == pytest.approx([threshold] * 3)
    assert torch.allclose(codebook.embed_avg[:3], codebook.embed[:3] * threshold, atol=1e-5)
    # The average that is kept for a replaced code does not pull it back to where it was.
    quantizer.update(embeddings, quantizer(embeddings, 1).codes, generator(), CPU)
    assert codebook.embed[:3].abs().max() < 10


def test_codebooks_follow_embeddings_that_move() -> None:
    _net, quantizer = trained(torch.randn(4000, DIM, generator=generator()))
    for step in range(400):
        embeddings = 5 + 0.5 * torch.randn(2, DIM, 150, generator=generator(step))
        quantizer.update(embeddings, quantizer(embeddings, 2).codes, generator(step), CPU)
    codes = quantizer(embeddings, 2).codes
    assert (quantizer(embeddings, 2).output - embeddings).pow(2).mean() < 0.25
    assert all(len(level.unique()) > 50 for level in codes)


def test_a_checkpoint_without_averages_can_be_trained_on() -> None:
    net, _ = trained(torch.randn(4000, DIM, generator=generator()))
    codebook = net.quantizer.layers[0].codebook
    codebook.cluster_size.zero_()
    codebook.embed_avg.zero_()
    before = codebook.embed.clone()
    quantizer = QuantizerTrainer(net, dead=0.0)
    embeddings = torch.randn(2, DIM, 150, generator=generator(1))
    quantizer.update(embeddings, quantizer(embeddings, 1).codes, generator(), CPU)
    assert (codebook.embed - before).abs().max() < 1.0 and torch.isfinite(codebook.embed).all()


def test_a_checkpoints_counts_are_taken_to_the_batch_before_codes_are_called_dead() -> None:
    """A checkpoint that counts 1.0 for every code, as exported ones do, and a batch of 100 vectors
    a code."""
    net, quantizer = trained(torch.randn(4000, DIM, generator=generator()))
    assert quantizer.rescaled, "k-means counts in vectors of this run"
    for layer in net.quantizer.layers:
        layer.codebook.cluster_size.fill_(1.0)
        layer.codebook.embed_avg.copy_(layer.codebook.embed)
    quantizer = QuantizerTrainer(net)
    assert not quantizer.rescaled
    before = net.quantizer.layers[0].codebook.embed.clone()
    embeddings = torch.randn(4, DIM, 1600, generator=generator(1))
    assert quantizer.update(embeddings, quantizer(embeddings, 1).codes, generator(), CPU) == 0
    for layer in net.quantizer.layers:  # also those that this step did not use
        assert layer.codebook.cluster_size.sum().item() == pytest.approx(6400, rel=1e-4)
    assert (net.quantizer.layers[0].codebook.embed - before).abs().max() < 0.2
    again = net.quantizer.layers[1].codebook.cluster_size.clone()
    quantizer.update(embeddings[:1], quantizer(embeddings[:1], 1).codes, generator(), CPU)
    assert torch.equal(net.quantizer.layers[1].codebook.cluster_size, again), "once"


def matmul_precision() -> str:
    """Of a GPU's products, which torch has a setting of its own for from 2.9 on."""
    matmul: Any = torch.backends.cuda.matmul
    return str(getattr(matmul, "fp32_precision", torch.get_float32_matmul_precision()))


def test_nearest_is_exact_whatever_training_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    inner = torch.Tensor.__matmul__

    def product(self: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        seen.append(matmul_precision())
        return inner(self, other)

    monkeypatch.setattr(torch.Tensor, "__matmul__", product)
    torch.set_float32_matmul_precision("high")
    try:
        kmeans(torch.randn(80, DIM), 8, generator(), iterations=1)
        nearest(torch.randn(9, DIM), torch.randn(4, DIM))
        assert (
            len(seen) == 2
            and set(seen) <= {"ieee", "highest"}
            and torch.get_float32_matmul_precision() == "high"
        )
    finally:
        torch.set_float32_matmul_precision("highest")
