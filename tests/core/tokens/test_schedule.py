from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark3r_core.models.interface import CrossLayer
from spark3r_core.tokens import Reduction
from spark3r_core.tokens.schedule import adaptive_kv_factor, adaptive_query_factor
from spark3r_core.tokens.sensitivity import SENSITIVE_LAYERS, sensitive_layers


def layers(*kinds: str) -> list[CrossLayer]:
    return [CrossLayer(f"{kind}.{i}", kind, 10, 1, 2, 8) for i, kind in enumerate(kinds)]


@pytest.mark.parametrize(
    ("frames", "query"), [(1, 1), (100, 1), (101, 2), (300, 2), (301, 3), (500, 3), (501, 4), (5000, 4)]
)
def test_query_factor_follows_the_published_steps(frames, query):
    assert adaptive_query_factor(frames) == query


@pytest.mark.parametrize(("frames", "kv"), [(1, 1), (100, 1), (101, 3), (120, 3), (121, 4), (500, 13), (1000, 25)])
def test_kv_factor_follows_the_published_rule(frames, kv):
    assert adaptive_kv_factor(frames) == kv


@given(st.integers(101, 100_000))
def test_about_forty_frames_of_keys_stay_whatever_the_length(frames):
    kept = math.ceil(frames / adaptive_kv_factor(frames))
    assert 27 <= kept <= 40


def test_insensitive_layers_use_three_times_the_factor_also_in_short_streams():
    model = layers(*["global"] * 24)
    for frames, base in ((50, 1), (1000, 25)):
        plan = Reduction.spark3r().layers(frames, model, "vggt-1b")
        assert [layer.kv_factor for layer in plan] == [base if 11 <= i <= 16 else 3 * base for i in range(24)]
        assert {layer.query_factor for layer in plan} == {adaptive_query_factor(frames)}


def test_models_without_a_table_treat_every_layer_as_sensitive():
    plan = Reduction.spark3r().layers(1000, layers("global", "global"), "da3-small")
    assert [layer.kv_factor for layer in plan] == [25, 25]
    assert Reduction.spark3r().layers(1000, layers("global"), None)[0].kv_factor == 25


def test_register_and_camera_layers_are_never_reduced_and_do_not_count():
    model = layers("global", "register", "global", "camera")
    plan = Reduction.fixed(4, 8).with_(insensitive_multiplier=2, sensitive=frozenset({1})).layers(9, model)
    assert [(layer.query_factor, layer.kv_factor) for layer in plan] == [(4, 16), (1, 1), (4, 8), (1, 1)]


def test_omegas_published_rounds_fall_on_full_global_layers():
    rounds = ["register" if i in (2, 6, 9, 14, 20) else "global" for i in range(24)]
    flags = sensitive_layers("vggt-omega-1b", layers(*rounds))
    found = [i for i, kind in enumerate(rounds) if kind == "global" and flags[i]]
    assert found == [10, 11, 12, 13, 15, 16, 17, 21]


def test_tables_fit_their_models():
    global_layers = {"vggt-1b": 24, "pi3": 18, "da3-giant": 14, "vggt-omega-1b": 19}
    for name, total in global_layers.items():
        assert SENSITIVE_LAYERS[name] <= set(range(total))


def test_presets_say_what_they_do():
    model = layers("global")
    assert Reduction.dense().layers(1000, model, "vggt-1b")[0] == Reduction.fixed(1, 1).layers(5, model)[0]
    stride = Reduction.kv_stride_only().layers(1000, model, "vggt-1b")[0]
    assert (stride.query_factor, stride.kv_factor) == (1, 25)


@pytest.mark.parametrize("field", ["query_factor", "kv_factor", "insensitive_multiplier", "group_frames"])
def test_factors_below_one_are_refused(field):
    with pytest.raises(ValueError, match=field):
        Reduction.spark3r().with_(**{field: 0})


def test_unknown_or_impossible_kv_modes_are_refused():
    with pytest.raises(ValueError, match="kv_mode"):
        Reduction.spark3r().with_(kv_mode="average")
    with pytest.raises(ValueError, match="always_kept"):
        Reduction.spark3r().with_(kv_mode="merge", always_kept=(0, 5))
