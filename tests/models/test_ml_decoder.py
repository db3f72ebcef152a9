import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.models.decoders import (
    OPTIONS,
    TOKENS,
    WIDTH,
    all_modes,
    inputs,
    make_fixed,
    make_grouped,
    make_words,
    word_modes,
)
from tests.models.published import published_logits
from zsl.errors import InputError
from zsl.models import (
    FixedMLDecoder,
    GroupedWordMLDecoder,
    MLDecoder,
    WordMLDecoder,
    span_of,
)
from zsl.models.decoder import Memory, PreparedQueries
from zsl.models.published import load_published, to_published


class Naive:
    """The published formula as a loop; for groups of words the formula of their docstring.

    Attributes:
        tensors: Leaves, by official names without prefix; those of its decoder for groups.
    """

    def __init__(self, head: MLDecoder) -> None:
        self.head = head
        self.published_head = head
        if isinstance(head, GroupedWordMLDecoder):
            # Reading out the identity leaves the outputs of the decoder.
            self.published_head = WordMLDecoder(TOKENS, WIDTH, **OPTIONS).double()
            shared = {k: v for k, v in head.state_dict().items() if "readout" not in k}
            self.published_head.load_state_dict(shared, strict=False)
        tensors = to_published(self.published_head, "official", "")
        self.tensors = {
            name.removeprefix("decoder."): tensor.clone().requires_grad_()
            for name, tensor in tensors.items()
        }

    def __call__(self, tokens: Tensor, queries: Tensor | None = None) -> Tensor:
        head = self.head
        if not isinstance(head, GroupedWordMLDecoder):
            return published_logits(self.tensors, tokens, queries)
        assert queries is not None
        identity = {
            "duplicate_pooling": torch.eye(16).double(),
            "duplicate_pooling_bias": torch.zeros(16).double(),
        }
        outputs = published_logits(self.tensors | identity, tokens, head.group_queries)
        outputs = outputs.unflatten(1, (-1, 16))
        columns = []
        for vector in queries:
            cosines = [F.cosine_similarity(vector, q, dim=0) for q in head.group_queries]
            output = outputs[:, int(torch.stack(cosines).argmax())]
            vector = vector / torch.stack([q.norm() for q in head.group_queries]).mean()
            weights = head.readout.weight.T @ vector
            columns.append(output @ weights + head.readout.bias @ vector + head.bias)
        return torch.stack(columns, dim=1)

    def gradients(self, loss: Tensor) -> dict[str, Tensor]:
        """Gradients by the names of our parameters."""
        self.head.zero_grad()
        loss.backward()
        # Loaded like a checkpoint, gradients take our names.
        holder = copy.deepcopy(self.published_head)
        load_published(
            holder,
            {
                f"decoder.{name}" if "wordvec" not in name else name: leaf.grad
                if leaf.grad is not None
                else torch.zeros_like(leaf)
                for name, leaf in self.tensors.items()
            },
        )
        found = {name: parameter.detach() for name, parameter in holder.named_parameters()}
        own = dict(self.head.named_parameters())
        found |= {name: p.grad for name, p in own.items() if p.grad is not None}
        return {name: found[name] for name in own}


@pytest.mark.parametrize(
    ("num_classes", "num_groups"), [(7, 3), (7, 7), (7, 1), (1, 1), (8, 4), (9, 5), (120, None)]
)
def test_fixed_classes_equal_the_published_formula(
    num_classes: int, num_groups: int | None
) -> None:
    head = make_fixed(num_classes, num_groups).eval()
    (tokens,) = inputs(head, images=2, tokens=3)
    logits = head(tokens)
    assert logits.shape == (2, num_classes)
    torch.testing.assert_close(logits, Naive(head)(tokens), rtol=1e-10, atol=1e-10)


@word_modes
@pytest.mark.parametrize(("images", "num_tokens", "labels"), [(3, 5, 70), (1, 1, 1)])
def test_words_equal_the_published_formula(
    make: Callable[[], MLDecoder], images: int, num_tokens: int, labels: int
) -> None:
    head = make().eval()
    tokens, queries = inputs(head, images, num_tokens, labels)
    naive = Naive(head)(tokens, queries)
    torch.testing.assert_close(head(tokens, queries), naive, rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(head(tokens, queries), naive, rtol=1e-10, atol=1e-10)


@all_modes
def test_gradients_equal_those_of_the_formula(make: Callable[[], MLDecoder]) -> None:
    head = make().eval()
    arguments = inputs(head, images=2, tokens=3, labels=4)
    naive = Naive(head)
    weights = torch.randn_like(head(*arguments))
    expected = naive.gradients((naive(*arguments) * weights).sum())
    head.zero_grad()
    (head(*arguments) * weights).sum().backward()
    found = {name: parameter.grad for name, parameter in head.named_parameters()}
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)


@all_modes
def test_every_parameter_is_trained(make: Callable[[], MLDecoder]) -> None:
    head = make()
    head(*inputs(head)).square().sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name


@word_modes
@pytest.mark.parametrize("inference", [True, False])
def test_a_label_does_not_depend_on_the_other_labels(
    make: Callable[[], MLDecoder], inference: bool
) -> None:
    head = make().eval()
    tokens, queries = inputs(head, labels=90)
    with torch.inference_mode(inference):
        logits = head(tokens, queries)
        order = torch.randperm(90)
        torch.testing.assert_close(head(tokens, queries[order]), logits[:, order])
        torch.testing.assert_close(head(tokens, queries[10:30]), logits[:, 10:30])
        for label in (0, 89):
            alone = head(tokens, queries[label : label + 1])
            torch.testing.assert_close(alone, logits[:, label : label + 1])
        assert head(tokens, queries[:0]).shape == (3, 0)


@word_modes
@pytest.mark.parametrize(
    ("dtype", "autocast"),
    [(torch.float64, False), (torch.float32, True), (torch.bfloat16, False)],
)
def test_prepared_labels_give_the_same(
    make: Callable[[], Any], dtype: torch.dtype, autocast: bool
) -> None:
    head = make().eval().to(dtype)
    head.span = span_of(torch.randn(4, WIDTH)).to(dtype)
    queries = torch.randn(50, WIDTH)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        prepared = head.prepare(queries)
        for images in (2, 3):
            tokens = torch.randn(images, 5, TOKENS, dtype=dtype)
            for ask in (head, head.attention):
                assert torch.equal(ask(tokens, prepared), ask(tokens, queries))


@all_modes
def test_batch_size_does_not_matter(make: Callable[[], MLDecoder]) -> None:
    head = make().eval()
    tokens, *queries = inputs(head, images=4)
    logits = head(tokens, *queries)
    for image in range(4):
        alone = head(tokens[image : image + 1], *queries)
        torch.testing.assert_close(alone, logits[image : image + 1])
    assert head(tokens[:0], *queries).shape == (0, logits.shape[1])


@pytest.mark.parametrize("training", [True, False])
def test_labels_in_parts_give_the_same(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    head = make_words(dropout=0.0).train(training)
    tokens, queries = inputs(head, labels=50)
    expected = head(tokens, queries)
    sizes: list[int] = []
    score = head._score

    def record(part: PreparedQueries, memory: Memory) -> Tensor:
        sizes.append(len(part.normed))
        return score(part, memory)

    monkeypatch.setattr(head, "_score", record)
    monkeypatch.setattr("zsl.models.decoder._HIDDEN_AT_ONCE_CPU", 3 * 24 * 20)
    with torch.set_grad_enabled(training):
        logits = head(tokens, queries)
    torch.testing.assert_close(logits, expected)
    assert sizes == [20, 20, 10]
    if training:
        torch.testing.assert_close(
            torch.autograd.grad(logits.square().sum(), list(head.parameters())),
            torch.autograd.grad(expected.square().sum(), list(head.parameters())),
        )


@all_modes
def test_dropout_acts_in_training_only(make: Callable[..., MLDecoder]) -> None:
    head = make(dropout=0.5)
    arguments = inputs(head)
    assert not torch.equal(head.train()(*arguments), head(*arguments))
    assert torch.equal(head.eval()(*arguments), head(*arguments))


@all_modes
def test_a_map_is_its_tokens(make: Callable[[], MLDecoder]) -> None:
    head = make().eval()
    tokens, *queries = inputs(head, tokens=6)
    features = tokens.mT.unflatten(2, (2, 3))
    torch.testing.assert_close(head(features, *queries), head(tokens, *queries))
    with pytest.raises(InputError, match=r"shape \(3, 10\) are neither a map .* nor tokens"):
        head(tokens.mean(1), *queries)


@word_modes
def test_label_vectors_of_another_width_are_refused(make: Callable[[], MLDecoder]) -> None:
    head = make()
    tokens, queries = inputs(head)
    for wrong in (queries[:, :5], queries[0]):
        with pytest.raises(
            InputError, match=r"label vectors have the shape .*; expected \(labels, 6"
        ):
            head(tokens, wrong)


@pytest.mark.parametrize(
    ("make", "queries"), [(make_fixed, True), (make_words, False), (make_grouped, True)]
)
def test_state_has_no_surprises(make: Callable[[], MLDecoder], queries: bool) -> None:
    head = make().eval()
    before = set(head.state_dict())
    with torch.no_grad():
        head(*inputs(head))
    assert set(head.state_dict()) == before
    assert before - dict(head.named_parameters()).keys() == (
        {"group_queries"} if queries else set()
    )


@all_modes
def test_tokens_of_another_width_are_refused(make: Callable[[], MLDecoder]) -> None:
    head = make()
    tokens, *queries = inputs(head)
    with pytest.raises(InputError, match=r"tokens are 9 wide, but the head .* of 10"):
        head(tokens[:, :, :9], *queries)


@pytest.mark.parametrize("single_label", [True, False])
def test_fixed_classes_learn_one_label_or_several(single_label: bool) -> None:
    torch.manual_seed(0)
    head = FixedMLDecoder(TOKENS, 6, 3, embed_dim=32, feedforward_dim=32, dropout=0.0)
    directions, classes = torch.randn(6, TOKENS), torch.randint(0, 6, (64, 4))
    tokens = directions[classes[:, :1] if single_label else classes]
    targets = F.one_hot(classes[:, 0], 6) if single_label else F.one_hot(classes, 6).amax(1)
    optimizer = torch.optim.Adam(head.parameters(), 3e-3)
    for _ in range(60):
        logits = head(tokens)
        loss = (
            F.cross_entropy(logits, classes[:, 0])
            if single_label
            else F.binary_cross_entropy_with_logits(logits, targets.float())
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    guesses = F.one_hot(head(tokens).argmax(1), 6) if single_label else (head(tokens) > 0).int()
    assert (guesses == targets).float().mean() > 0.97


def test_the_relu_on_the_queries_can_be_left_out() -> None:
    head = make_words().eval()
    tensors = Naive(head).tensors
    published = to_published(head)
    tokens, queries = inputs(head)
    head.query_relu = False
    expected = published_logits(tensors, tokens, queries, query_relu=False)
    torch.testing.assert_close(head(tokens, queries), expected)
    assert not torch.allclose(expected, published_logits(tensors, tokens, queries))
    with pytest.raises(InputError, match="no ReLU on its queries, but published ones have"):
        load_published(head, published)


@word_modes
def test_of_label_vectors_the_part_in_the_span_counts(make: Callable[[], MLDecoder]) -> None:
    head = make().eval()
    trained = torch.randn(4, WIDTH).double()
    head.span = span_of(trained).double()
    tokens, queries = inputs(head)
    # The nearest point of the span, by least squares.
    shares = torch.linalg.lstsq(trained.T, queries.T).solution
    inside = (trained.T @ shares).T
    within = head(tokens, queries)
    torch.testing.assert_close(head(tokens, inside), within, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(head(tokens, 7 * queries - 6 * inside), within, rtol=1e-4, atol=1e-4)
    span, head.span = head.span, None
    torch.testing.assert_close(head(tokens, inside), within, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(head(tokens, queries), within, atol=1e-3)
    if isinstance(head, WordMLDecoder):  # A published head has it in its weights.
        head.span = span
        published = published_logits(Naive(head).tensors, tokens, queries)
        torch.testing.assert_close(published, within)
