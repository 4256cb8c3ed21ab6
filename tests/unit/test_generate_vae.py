"""The network: exact conditions, learnt dependence, seeds, weights; and the guard on its feed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from rehearsal.errors import ModelError
from rehearsal.generate.models.vae import ConditionalVAE, NetworkShape, from_bytes, to_bytes
from rehearsal.generate.training.feed import FeedError, Files, count_rows, epoch
from rehearsal.generate.training.train import Trained, batch_rows, train
from rehearsal.settings import Generator

SIZES = (3, 4, 6, 5, 8)
NAMES = tuple(f"token_{i:03d}" for i in range(len(SIZES)))
SETTINGS = Generator(hidden=48, latent=4, max_epochs=14, patience=3, batch_rows=64)
SHAPE = NetworkShape(SIZES, 2, SETTINGS.hidden, SETTINGS.latent)


def truth(n: int, seed: int) -> np.ndarray:
    """Two conditions; the third column is their sum, the fourth follows the third, then noise.

    Code 0 of the third column and code 7 of the last never occur.
    """
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 3, n), rng.integers(0, 4, n)
    third = 1 + (first + second) % 5
    fourth = (third + (rng.random(n) < 0.1)) % 5
    return np.stack([first, second, third, fourth, rng.integers(0, 7, n)], axis=1)


def write(folder: Path, name: str, rows: np.ndarray, row_group: int = 500) -> str:
    table = pa.table({key: rows[:, i].astype("int32") for i, key in enumerate(NAMES)})
    pq.write_table(table, folder / name, row_group_size=row_group)
    return (folder / name).as_uri()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, Files]:
    # A space in the path, as file names come percent-encoded.
    folder = tmp_path_factory.mktemp("with space")
    training = write(folder, "training.parquet", truth(1700, 1))
    validation = write(folder, "validation.parquet", truth(300, 2))
    return Files((training,), NAMES), Files((validation,), NAMES)


@pytest.fixture(scope="module")
def trained(files: tuple[Files, Files]) -> Trained:
    return train(*files, SHAPE, SETTINGS, seed=5)


def sample(trained: Trained, conditions: np.ndarray, seed: int) -> np.ndarray:
    network = from_bytes(SHAPE, trained.weights)
    generator = torch.Generator().manual_seed(seed)
    return network.sample(torch.from_numpy(conditions), generator).numpy()


@pytest.mark.parametrize("column", [0, 1])
def test_a_condition_asked_for_is_the_condition_of_every_row(trained: Trained, column: int) -> None:
    for value in range(SIZES[column]):
        conditions = truth(400, 3)[:, :2]
        conditions[:, column] = value
        drawn = sample(trained, conditions, seed=value + 1)
        assert (drawn[:, column] == value).all()
        assert np.array_equal(drawn[:, :2], conditions)


def test_dependence_on_conditions_and_between_columns_is_learnt(trained: Trained) -> None:
    drawn = sample(trained, truth(4000, 4)[:, :2], seed=9)
    by_rule = drawn[:, 2] == 1 + (drawn[:, 0] + drawn[:, 1]) % 5
    follows = drawn[:, 3] == drawn[:, 2] % 5
    assert by_rule.mean() > 0.95
    # The truth is 0.9 and independent columns would give 0.2.
    assert follows.mean() == pytest.approx(0.9, abs=0.05)


def test_codes_never_trained_on_are_never_sampled(trained: Trained) -> None:
    drawn = sample(trained, truth(4000, 4)[:, :2], seed=10)
    assert (drawn[:, 2] > 0).all()
    assert (drawn[:, 4] < 7).all()


def test_training_improves_stops_and_reports_in_nats(trained: Trained) -> None:
    curve = trained.curve
    assert [point.epoch for point in curve] == list(range(1, len(curve) + 1))
    assert trained.best.validation_nats == min(point.validation_nats for point in curve)
    assert trained.best.validation_nats < curve[0].validation_nats
    # The truth has ln 7 of the last column and the entropy of a 10% coin.
    assert trained.best.validation_nats > np.log(7)
    assert trained.best.kl_nats >= 0


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    files: tuple[Files, Files],
) -> None:
    short = SETTINGS.model_copy(update={"max_epochs": 2})
    first = train(*files, SHAPE, short, seed=5)
    assert train(*files, SHAPE, short, seed=5) == first
    assert train(*files, SHAPE, short, seed=6).weights != first.weights


def test_saved_weights_sample_as_the_network_they_came_from(trained: Trained) -> None:
    network = from_bytes(SHAPE, trained.weights)
    assert to_bytes(network) == trained.weights
    again = from_bytes(NetworkShape.from_json(SHAPE.to_json()), to_bytes(network))
    conditions = torch.from_numpy(truth(200, 6)[:, :2])
    draws = [n.sample(conditions, torch.Generator().manual_seed(1)) for n in (network, again)]
    assert torch.equal(*draws)


def test_weights_of_another_shape_are_refused() -> None:
    other = NetworkShape((3, 4, 9), 2, 16, 2)
    weights = to_bytes(ConditionalVAE(other))
    with pytest.raises(ModelError, match="not of a network of shape"):
        from_bytes(SHAPE, weights)


def test_an_epoch_delivers_every_row_once_in_an_order_of_its_seed(
    files: tuple[Files, Files],
) -> None:
    n_rows = count_rows(files[0])
    assert n_rows == 1700
    orders = [torch.cat(list(epoch(files[0], 64, seed, n_rows))) for seed in (1, 1, 2)]
    expected = np.sort(truth(1700, 1), axis=0)
    for rows in orders:
        assert np.array_equal(np.sort(rows.numpy(), axis=0), expected)
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


def test_batches_grow_with_the_segment_up_to_a_limit() -> None:
    assert [batch_rows(SETTINGS, n) for n in (100, 64_000, 10**7)] == [64, 1000, 4096]


@pytest.mark.parametrize("held", [1699, 1701])
def test_rows_read_are_held_against_rows_held(files: tuple[Files, Files], held: int) -> None:
    with pytest.raises(FeedError, match=f"read 1700 rows of the {held}"):
        list(epoch(files[0], 64, 1, n_rows=held))


def test_a_latent_dimension_holds_information(trained: Trained) -> None:
    # Column dropout is there for this: without it the KL falls to nothing.
    assert trained.best.kl_nats > 0.02
