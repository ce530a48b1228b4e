"""Rankings, matched draws, logit lens, and the exact split of a change, against formulas restated over stacked
matrices."""

import numpy as np
import pytest
import torch
from readable_models import FAMILIES, tiny_model

from detox_ray.explain import attribution
from detox_ray.explain.reading import Row, read
from detox_ray.explain.vectors import LayerVectors, layer_vectors, lens, partners, rank
from detox_ray.models.edits import neuron_weights, transplanted
from detox_ray.models.mlp import Mlps

RNG = np.random.default_rng(0)
DIRECTION = RNG.normal(size=64)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_ranking_is_that_of_all_vectors_stacked(family: str) -> None:
    model = tiny_model(family)
    mlps = Mlps(model)
    name = {"gpt2": "mlp.c_proj", "bloom": "mlp.dense_4h_to_h"}.get(family, "mlp.down_proj")
    weights = [block.get_submodule(name).weight.detach().double() for block in mlps.blocks]
    stacked = torch.cat([w if family == "gpt2" else w.T for w in weights]).numpy()
    cosines = stacked @ DIRECTION / np.linalg.norm(stacked, axis=1) / np.linalg.norm(DIRECTION)
    per_layer = len(stacked) // 2
    expected = [divmod(int(place), per_layer) for place in np.argsort(-cosines)[:20]]
    found = rank([layer_vectors(mlps, layer, DIRECTION) for layer in range(2)], 20)
    assert [candidate.neuron for candidate in found] == expected
    np.testing.assert_allclose([c.cosine for c in found], np.sort(cosines)[::-1][:20], atol=1e-5)
    # logit lens
    tokens = lens(mlps, expected[:3], 5)
    unembedding = model.get_output_embeddings().weight.detach().double().numpy()
    for (layer, index), top in zip(expected[:3], tokens, strict=True):
        logits = unembedding @ stacked[layer * per_layer + index]
        assert top.ids == np.argsort(-logits, kind="stable")[:5].tolist()
        np.testing.assert_allclose(top.scores, np.sort(logits)[::-1][:5], atol=1e-5)


def test_a_limit_per_layer_lets_later_layers_in() -> None:
    """As the scripts of Lee et al. do: equal to the global ranking only if no layer has more than the limit."""
    one, two = np.linspace(1.0, 0.9, 50), np.linspace(0.8, 0.1, 30)
    layers = [LayerVectors(one, np.ones(50)), LayerVectors(two, np.ones(30))]
    assert {candidate.layer for candidate in rank(layers, 10)} == {0}
    assert [candidate.layer for candidate in rank(layers, 10, per_layer=6)] == [0] * 6 + [1] * 4


def test_matched_draws_are_of_the_candidates_layers_and_no_candidates() -> None:
    layers = [LayerVectors(RNG.normal(size=40), np.ones(40)), LayerVectors(RNG.normal(size=60), np.ones(60))]
    candidates = rank(layers, 15)
    drawn = partners(candidates, [40, 60], draws=4, seed=1)
    taken = {candidate.neuron for candidate in candidates}
    for draw in range(4):
        neurons = [(c.layer, indices[draw]) for c, indices in zip(candidates, drawn, strict=True)]
        assert len(set(neurons)) == 15 and not taken & set(neurons)
    assert drawn == partners(candidates, [40, 60], draws=4, seed=1)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_parts_add_up_to_the_change_of_what_the_mlps_write(family: str) -> None:
    before, after = tiny_model(family), tiny_model(family)
    torch.manual_seed(3)
    for block in Mlps(after).blocks:
        for tensor in block.mlp.parameters():
            tensor.data += 0.05 * torch.randn_like(tensor)
    rows, chosen = [Row([5, 6, 7], [8, 9, 10]), Row([3], [4, 5])], [[], []]
    unit = DIRECTION / np.linalg.norm(DIRECTION)
    means, projections, written = [], [], []
    for model in (before, after):
        mlps = Mlps(model)
        reading = read(mlps, rows, chosen, pad=0, budget=100)
        means.append([reading.means(layer) for layer in range(2)])
        projections.append([layer_vectors(mlps, layer, DIRECTION).projections for layer in range(2)])
        outputs: list[list[torch.Tensor]] = [[], []]
        handles = [
            down.register_forward_hook(lambda _, __, out, kept=kept: kept.append(out[0]))
            for down, kept in zip(mlps.downs, outputs, strict=True)
        ]
        for row in rows:
            with torch.no_grad():
                model(input_ids=torch.tensor([row.prompt + row.continuation[:-1]]))
        for handle in handles:
            handle.remove()
        starts = [len(row.prompt) - 1 for row in rows]
        kept = [torch.cat([o[s:] for o, s in zip(outs, starts, strict=True)]) for outs in outputs]
        biases = [0.0 if down.bias is None else float(down.bias.detach().numpy() @ unit) for down in mlps.downs]
        written.append([float(k.mean(0).numpy() @ unit) - bias for k, bias in zip(kept, biases, strict=True)])
    for layer in range(2):
        parts = attribution.contributions(
            means[0][layer], projections[0][layer], means[1][layer], projections[1][layer]
        )
        assert parts.total.sum() == pytest.approx(written[1][layer] - written[0][layer], rel=1e-4, abs=1e-5)


def test_one_changed_value_vector_alone_gets_everything() -> None:
    model, other = tiny_model("llama"), tiny_model("llama")
    Mlps(other).value_vectors(1)[5] += 1.0
    rows = [Row([5, 6, 7], [8, 9, 10])]
    weights = neuron_weights(Mlps(other), [(1, 5)])
    mlps = Mlps(model)
    before = read(mlps, rows, [[], []], pad=0, budget=100)
    a = layer_vectors(mlps, 1, DIRECTION).projections
    with transplanted(mlps, weights):
        after = read(mlps, rows, [[], []], pad=0, budget=100)
        a_after = layer_vectors(mlps, 1, DIRECTION).projections
    parts = attribution.contributions(before.means(1), a, after.means(1), a_after)
    assert np.flatnonzero(np.abs(parts.total) > 1e-9).tolist() == [5]
    assert parts.total[5] == pytest.approx(parts.value[5])


def test_groups_partition_the_neurons_that_write_less() -> None:
    m, a = RNG.normal(size=200), RNG.normal(size=200)
    parts = attribution.contributions(m, a, m + RNG.normal(size=200), a)
    found = attribution.groups(m, a, parts.activation)
    for place in range(200):
        fell = (parts.activation[place]) < 0
        expected = "" if not fell else ("T" if a[place] > 0 else "A") + ("P" if m[place] >= 0 else "N")
        assert found[place][:2] == expected
    result = attribution.summary([parts], [found])
    assert sum(result.group_parts.values()) == pytest.approx(parts.activation[parts.activation < 0].sum())
    assert result.net == pytest.approx(parts.total.sum())


def test_the_fewest_neurons_for_half_the_change_are_counted_from_the_largest() -> None:
    change = np.array([-5.0, -3.0, -2.0, -1.0, 1.0])  # net -10, of which +1 counteracts
    parts = attribution.Contributions(change, np.zeros(5), np.zeros(5))
    result = attribution.summary([parts], [np.array(["TP-"] * 4 + [""])])
    assert (result.net, result.counteracting) == (-10.0, 1.0)
    assert result.neurons_for == {50: 1, 75: 2, 99: 3}
