"""Pruning schedules against the formulas of the TensorFlow Model Optimization Toolkit."""

import dataclasses
import pickle
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import qcore as qc


def reference(step, initial, final, begin, end, power):
    p = min(1.0, max(0.0, (step - begin) / (end - begin)))
    return (initial - final) * pow(1 - p, power) + final


@given(
    step=st.integers(0, 4000),
    initial=st.floats(0, 0.99),
    final=st.floats(0, 0.99),
    begin=st.integers(0, 1000),
    length=st.integers(1, 2000),
    power=st.sampled_from([1, 2, 3, 0.5]),
)
def test_polynomial_decay_is_the_formula(step, initial, final, begin, length, power):
    schedule = qc.PolynomialDecay(initial, final, begin, begin + length, power)
    expected = reference(step, initial, final, begin, begin + length, power)
    assert schedule.sparsity(step) == pytest.approx(expected, abs=1e-12)
    assert 0 <= schedule.sparsity(step) < 1


def test_polynomial_decay_at_its_ends():
    schedule = qc.PolynomialDecay(0.25, 0.9, begin_step=100, end_step=500)
    assert [schedule.sparsity(step) for step in (0, 100)] == [0.25, 0.25]
    assert [schedule.sparsity(step) for step in (500, 9999)] == [0.9, 0.9]
    assert schedule.sparsity(300) == pytest.approx(0.9 - 0.65 / 8)
    turns = [step for step in range(1000) if schedule.should_prune(step)]
    assert turns == [100, 200, 300, 400, 500]


def test_constant_sparsity_takes_turns_for_ever_or_until_its_end():
    schedule = qc.ConstantSparsity(0.5, begin_step=30, frequency=50)
    assert [step for step in range(200) if schedule.should_prune(step)] == [30, 80, 130, 180]
    schedule = qc.ConstantSparsity(0.5, 30, 130, 50)
    assert [step for step in range(999) if schedule.should_prune(step)] == [30, 80, 130]
    assert schedule.sparsity(0) == schedule.sparsity(80) == 0.5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: qc.ConstantSparsity(1.0, 0), ValueError, "target_sparsity is 1.0"),
        (lambda: qc.ConstantSparsity(-0.1, 0), ValueError, "target_sparsity is -0.1"),
        (lambda: qc.ConstantSparsity(0.5, -1), ValueError, "begin_step is -1"),
        (lambda: qc.ConstantSparsity(0.5, 10, 9), ValueError, "end_step is 9"),
        (lambda: qc.ConstantSparsity(0.5, 0, -2), ValueError, "end_step is -2"),
        (lambda: qc.ConstantSparsity(0.5, 0, frequency=0), ValueError, "frequency is 0"),
        (lambda: qc.ConstantSparsity("0.5", 0), TypeError, "target_sparsity"),
        (lambda: qc.PolynomialDecay(0, 0.9, 0, 0), ValueError, "end_step is 0"),
        (lambda: qc.PolynomialDecay(0, 0.9, 0, -1), ValueError, "end_step is -1"),
        (lambda: qc.PolynomialDecay(0, 1, 0, 9), ValueError, "final_sparsity is 1"),
        (lambda: qc.PolynomialDecay(2, 0.5, 0, 9), ValueError, "initial_sparsity is 2"),
        (lambda: qc.PolynomialDecay(0, 0.5, 0, 9, power=0), ValueError, "power is 0"),
        (lambda: qc.PolynomialDecay(0, 0.5, 0.5, 9), TypeError, "begin_step is 0.5"),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_schedules_are_values():
    schedule = qc.PolynomialDecay(0.0, 0.9, 0, 100)
    assert schedule == pickle.loads(pickle.dumps(schedule))  # noqa: S301
    assert hash(schedule) == hash(qc.PolynomialDecay(0.0, 0.9, 0, 100))
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.end_step = 7


def test_regrowth_moves_fewer_and_fewer_weights_until_its_end():
    inner = qc.PolynomialDecay(0.0, 0.9, begin_step=100, end_step=900)
    schedule = qc.Regrowth(inner, 0.4).for_training(5000)
    assert schedule.end_step == 900
    assert [schedule.regrowth(step) for step in (100, 500, 900, 2000)] == pytest.approx(
        [0.4, 0.2, 0.0, 0.0]
    )
    assert schedule.sparsity(500) == inner.sparsity(500)
    assert [schedule.should_prune(step) for step in (200, 250)] == [True, False]
    endless = qc.Regrowth(qc.ConstantSparsity(0.9, 0)).for_training(4000)
    assert (endless.end_step, endless.final_sparsity) == (3000, 0.9)


@given(
    rounds=st.integers(1, 6), rewind=st.integers(0, 50), final=st.floats(0.1, 0.99),
    total=st.integers(400, 3000),
)  # fmt: skip
def test_rewinding_prunes_so_often_and_every_cycle_is_as_long(rounds, rewind, final, total):
    schedule = qc.Rewinding(final, rounds, rewind).for_training(total)
    turns = [step for step in range(total) if schedule.should_prune(step)]
    assert len(turns) == rounds
    kept = [1.0] + [1.0 - schedule.sparsity(step) for step in turns]
    ratios = [after / before for before, after in pairwise(kept)]
    assert ratios == pytest.approx([(1 - final) ** (1 / rounds)] * rounds)
    assert all(schedule.position(step) == (rewind, schedule.cycle_steps) for step in turns)
    assert all(schedule.position(step - 1)[0] == schedule.cycle_steps - 1 for step in turns)
    last = schedule.position(total - 1)[0]
    assert schedule.cycle_steps - 1 <= last <= schedule.cycle_steps + rounds


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: qc.Regrowth(qc.ConstantSparsity(0.5, 0), 1.5), "drop_fraction"),
        (lambda: qc.Rewinding(1.0), "final_sparsity"),
        (lambda: qc.Rewinding(0.5, rounds=0), "rounds"),
        (lambda: qc.Rewinding(0.5, 3, 500).for_training(400), "too few"),
        (lambda: qc.Rewinding(0.5).sparsity(3), "for_training"),
    ],
)
def test_schedules_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()
