"""What the indices promise for any weather and any price."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory_lib.domain import indices

temperature = st.floats(-25, 52)
humidity = st.floats(0, 100)
price = st.floats(-0.5, 4.0)
score = st.floats(0, 100)
band = st.tuples(price, price).map(sorted).filter(lambda ends: ends[1] - ends[0] > 1e-6)


@given(t=temperature, rh=humidity, p=price, ends=band)
def test_every_index_stays_within_its_scale(t, rh, p, ends):
    eci = indices.energy_cost_index(p, *ends)
    tci = indices.temperature_comfort_index(t)
    hsf = indices.humidity_stress_factor(rh)
    heat = indices.heat_stress_factor(t, rh)
    cpi = indices.chocolate_production_index(tci, eci, hsf)
    eos = indices.energy_optimization_score(eci, tci)
    for value in (eci, tci, hsf, heat, cpi, eos):
        assert 0.0 <= value <= 100.0


@given(p=price, dearer=st.floats(0, 1), ends=band)
def test_a_dearer_hour_never_has_a_lower_cost_index(p, dearer, ends):
    assert indices.energy_cost_index(p + dearer, *ends) >= indices.energy_cost_index(p, *ends)


@given(p=price, ends=band, factor=st.floats(0.01, 100), shift=st.floats(-1, 1))
def test_the_cost_index_does_not_depend_on_the_unit_or_level_of_prices(p, ends, factor, shift):
    moved = indices.energy_cost_index(
        p * factor + shift, ends[0] * factor + shift, ends[1] * factor + shift
    )
    assert moved == pytest.approx(indices.energy_cost_index(p, *ends), abs=1e-4)


@given(away=st.floats(0, 40), further=st.floats(0, 10), side=st.sampled_from([-1, 1]))
def test_comfort_only_falls_away_from_its_best_temperature(away, further, side):
    nearer = indices.temperature_comfort_index(21 + side * away)
    assert indices.temperature_comfort_index(21 + side * (away + further)) <= nearer


@given(t=st.floats(14.5, 50), warmer=st.floats(0, 5), rh=humidity, damper=st.floats(0, 20))
def test_heat_stress_rises_with_temperature_and_with_humidity(t, warmer, rh, damper):
    here = indices.heat_stress_factor(t, rh)
    assert indices.heat_stress_factor(t + warmer, rh) >= here - 1e-9
    assert indices.heat_stress_factor(t, min(rh + damper, 100)) >= here - 1e-9


@given(tci=score, eci=score, hsf=score, more=score)
def test_cost_and_humidity_stress_never_improve_production(tci, eci, hsf, more):
    here = indices.chocolate_production_index(tci, eci, hsf)
    assert indices.chocolate_production_index(tci, min(eci + more, 100), hsf) <= here
    assert indices.chocolate_production_index(tci, eci, min(hsf + more, 100)) <= here
    assert indices.energy_optimization_score(
        min(eci + more, 100), tci
    ) <= indices.energy_optimization_score(eci, tci)


@given(low=score, high=score)
def test_a_better_index_never_has_a_worse_class(low, high):
    low, high = sorted((low, high))
    worse, better = indices.outdoor_index_class([low, high]).codes
    assert better <= worse


@given(values=st.lists(st.one_of(score, st.just(np.nan)), min_size=1, max_size=20))
def test_unknown_stays_unknown(values):
    unknown = np.isnan(values)
    assert (np.isnan(indices.energy_optimization_score(values, 50.0)) == unknown).all()
    assert (indices.outdoor_index_class(values).isna() == unknown).all()
