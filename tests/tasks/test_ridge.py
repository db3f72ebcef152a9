"""The closed form against other implementations of its parts."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge as SklearnRidge
from torch import Tensor

from zsl.metrics import average_precision
from zsl.tasks import ridge
from zsl.tasks.ridge import ClosedFormFit, Moments, Ridge, Strengths, label_side, own_class_map


def make(
    num_images: int = 60, num_labels: int = 9, unknown: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean tokens (N, 5), targets (N, S) that depend on them, and label vectors (S, 4)."""
    torch.manual_seed(0)
    x, vectors = torch.randn(num_images, 5) + 2, torch.randn(num_labels, 4)
    scores = (x - 2) @ torch.randn(5, 4) @ vectors.T + torch.randn(num_images, num_labels)
    targets = (scores > 1).to(torch.int8)
    targets[torch.rand(targets.shape) < unknown] = -1
    return x, targets, vectors


def centred(targets: Tensor) -> Tensor:
    """What the scores of each label are fitted to, by its definition; unknown ones are 0."""
    y = torch.zeros(targets.shape, dtype=torch.float64)
    for label in range(targets.shape[1]):
        known = targets[:, label] >= 0
        present = (targets[known, label] == 1).double()
        if not len(present):
            continue
        mean = present.mean()
        deviation = (mean * (1 - mean)).sqrt()
        y[known, label] = (present - mean) / (deviation + 1e-3).sqrt()
    return y


def fitted(
    x: Tensor, targets: Tensor, vectors: Tensor, own: Tensor | None = None, at_once: int = 7
) -> ClosedFormFit:
    fit = ClosedFormFit(vectors, len(x), own)
    for rows in torch.randperm(len(x)).split(at_once):
        fit.update(rows, x[rows], targets[rows])
    return fit


def solution(x: Tensor, y: Tensor, vectors: Tensor, images: float, labels: float) -> Tensor:
    """Equation 5 of the paper, for any x and centred targets y."""
    x, v = x.double() - x.double().mean(dim=0), F.normalize(vectors.double(), dim=1)
    variance = x.var(dim=0, correction=0).mean()
    left = x.T @ x + len(x) * images * variance * torch.eye(x.shape[1])
    right = v.T @ v + labels * torch.eye(v.shape[1])
    return left.inverse() @ x.T @ y @ v @ right.inverse()


@pytest.mark.parametrize("unknown", [0.0, 0.5])
def test_the_image_side_is_the_ridge_regression_of_scikit_learn(unknown: float) -> None:
    x, targets, _ = make(unknown=unknown)
    targets[:, 2] = 0
    targets[0, 2] = 1  # A rare label.
    targets[:, 5] = -1
    targets[:, 6] = 1
    labels = torch.arange(9) != 4
    found = Ridge(Moments.of(x, targets), labels)
    y = centred(targets)[:, labels]
    strength = 0.7 * len(x) * x.double().var(dim=0, correction=0).mean().item()
    # Known targets have the mean 0, so the intercept is that of the images alone.
    expected = SklearnRidge(strength, fit_intercept=False).fit(x.double() - found.mean, y)
    solved = found.directions @ found.image_side(0.7)
    torch.testing.assert_close(solved, torch.tensor(expected.coef_.T))
    assert not solved[:, 4].any()  # Never known.
    assert not solved[:, 5].any()  # Always there.


def test_moments_of_parts_add_up() -> None:
    x, targets, _ = make(unknown=0.3)
    whole, first, second = (
        Moments.of(x[rows], targets[rows]) for rows in (..., slice(20), slice(20, None))
    )
    for found, expected in ((first + second, whole), (whole - second, first)):
        for name, value in vars(expected).items():
            torch.testing.assert_close(getattr(found, name), value, msg=name)


def test_the_label_side_is_its_formula() -> None:
    _, _, vectors = make()
    v = vectors.double()
    expected = v @ (v.T @ v + 0.4 * torch.eye(4)).inverse()
    torch.testing.assert_close(label_side(v, 0.4), expected)


def test_the_map_of_a_classifier_fits_its_weights() -> None:
    torch.manual_seed(0)
    vectors, weights = F.normalize(torch.randn(20, 4).double(), dim=1), torch.randn(20, 6)
    expected = SklearnRidge(3.0, fit_intercept=False).fit(vectors, weights - weights.mean(dim=0))
    torch.testing.assert_close(own_class_map(vectors, weights), torch.tensor(expected.coef_))


@pytest.mark.parametrize(
    ("num_images", "num_labels", "unknown"),
    [(60, 9, 0.0), (60, 9, 0.5), (60, 1, 0.0), (60, 7, 0.0), (3, 9, 0.0), (1, 9, 0.0)],
)
def test_the_solution_is_the_formula_at_the_strengths(
    num_images: int, num_labels: int, unknown: float
) -> None:
    x, targets, vectors = make(num_images, num_labels, unknown)
    fit = fitted(x, targets, vectors)
    mean, found, covariance, strengths = fit.solve()
    assert (strengths == Strengths()) is (num_images < 60 or num_labels < 8)
    torch.testing.assert_close(mean, x.mean(dim=0))
    if num_images == 1:
        assert not found.any()
        assert not covariance.any()
        return
    expected = solution(x, centred(targets), vectors, strengths.images, strengths.labels)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("with_own_classes", [False, True])
@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_strengths_are_the_best_of_all_on_labels_and_images_held_out(
    with_own_classes: bool, unknown: float
) -> None:
    x, targets, vectors = make(unknown=unknown)
    own = torch.randn(5, 4).double() if with_own_classes else None
    fit = fitted(x, targets, vectors, own)
    mean, solved, covariance, chosen = fit.solve()
    v, means = F.normalize(vectors.double(), dim=1), {}
    for images, labels, weight in product(
        ridge.IMAGE_STRENGTHS, ridge.LABEL_STRENGTHS, ridge.OWN_CLASS_WEIGHTS
    ):
        if weight and own is None:
            continue
        values = []
        for fold in range(4):
            held, trained = fit.folds == fold, fit.label_folds != fold
            y = centred(targets[~held])[:, trained]
            a = solution(x[~held], y, vectors[trained], images, labels)
            centre = x[~held].double().mean(dim=0)
            scores = (x[held] - centre) @ a @ v.T
            if own is not None:
                others = (x[held] - centre) @ own @ v.T
                scale = scores.std(dim=0).mean() / others.std(dim=0).mean()
                scores = scores + weight * scale * others
            ap = average_precision(scores.float(), targets[held])
            values.append((ap[trained].nanmean() * ap[~trained].nanmean()).sqrt().nan_to_num(0))
        means[Strengths(images, labels, weight)] = float(torch.stack(values).sum())
    # Equal but for rounding, where scores are near one another.
    assert means[chosen] == pytest.approx(max(means.values()), abs=0.01)
    assert max(means.values()) > min(means.values()) + 0.05
    own_part = torch.zeros(5, 4).double()
    plain = solution(x, centred(targets), vectors, chosen.images, chosen.labels)
    if own is not None:
        spreads = [((x.double() - mean) @ part @ v.T).std(dim=0).mean() for part in (plain, own)]
        own_part = chosen.own_classes * spreads[0] / spreads[1] * own
    torch.testing.assert_close(solved.double(), plain + own_part, rtol=1e-4, atol=1e-5)
    expected = torch.cov((x @ solved).T, correction=0)
    torch.testing.assert_close(covariance, expected, rtol=1e-3, atol=1e-4)


def test_rows_that_are_left_out_and_their_order_change_nothing() -> None:
    x, targets, vectors = make()
    rows, whole = torch.arange(0, 60, 2), ClosedFormFit(vectors, 60, None)
    whole.update(rows, x[rows], targets[rows])
    parts = ClosedFormFit(vectors, 60, None)
    for some in rows.flip(0).split(4):
        parts.update(some, x[some], targets[some])
    (_, expected, _, strengths), (_, found, _, others) = whole.solve(), parts.solve()
    assert strengths == others
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        expected.double(),
        solution(x[rows], centred(targets[rows]), vectors, strengths.images, strengths.labels),
        rtol=1e-4,
        atol=1e-5,
    )


def test_so_many_images_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ridge, "NUM_KEPT", 25)
    fit = fitted(*make(num_images=300))
    assert sum(len(x) for _, x, _ in fit.samples) == 25
    fit.solve()
