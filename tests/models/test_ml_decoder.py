import copy
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

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

TOKENS, WIDTH = 10, 6
OPTIONS: dict[str, Any] = {"embed_dim": 16, "num_heads": 8, "feedforward_dim": 24}


Head = TypeVar("Head", bound=MLDecoder)


def randomised(head: Head) -> Head:
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.4)
    return head.double()


def make_fixed(num_classes: int = 7, num_groups: int | None = 3, dropout: float = 0.1) -> MLDecoder:
    torch.manual_seed(0)
    return randomised(FixedMLDecoder(TOKENS, num_classes, num_groups, dropout=dropout, **OPTIONS))


def make_words(dropout: float = 0.1) -> WordMLDecoder:
    torch.manual_seed(0)
    return randomised(WordMLDecoder(TOKENS, WIDTH, dropout=dropout, **OPTIONS))


def make_grouped(num_groups: int = 4, dropout: float = 0.1) -> MLDecoder:
    torch.manual_seed(0)
    group_queries = torch.randn(num_groups, WIDTH)
    return randomised(GroupedWordMLDecoder(TOKENS, group_queries, dropout=dropout, **OPTIONS))


word_modes = pytest.mark.parametrize("make", [make_words, make_grouped])
all_modes = pytest.mark.parametrize("make", [make_fixed, make_words, make_grouped])


def inputs(head: MLDecoder, images: int = 3, tokens: int = 5, labels: int = 9) -> list[Tensor]:
    """Tokens, and label vectors if the head takes them."""
    features = torch.randn(images, tokens, TOKENS).double()
    if isinstance(head, FixedMLDecoder):
        return [features]
    return [features, torch.randn(labels, WIDTH).double()]


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
@pytest.mark.parametrize("autocast", [False, True])
def test_recomputed_activations_give_the_same(
    make: Callable[..., MLDecoder], autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsl.models.decoder._HIDDEN_AT_ONCE", 3 * 24 * 2)
    head = make(dropout=0.0).to(torch.float32 if autocast else torch.float64)
    arguments = [tensor.to(head.embed_tokens.weight) for tensor in inputs(head)]

    def train() -> tuple[Tensor, Tensor]:
        """Logits and gradients."""
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = head(*arguments)
        return logits, parameters_to_vector(
            torch.autograd.grad(logits.square().sum(), list(head.parameters()))
        )

    expected, expected_gradients = train()
    head.grad_checkpointing = True
    logits, gradients = train()
    assert logits.dtype == expected.dtype
    tolerance = 0.02 if autocast else 1e-12
    assert (logits - expected).norm() < tolerance * expected.norm()
    assert (gradients - expected_gradients).norm() < tolerance * expected_gradients.norm()


@all_modes
def test_recomputed_activations_have_the_same_dropout(
    make: Callable[..., MLDecoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsl.models.decoder._HIDDEN_AT_ONCE", 3 * 24 * 2)
    head = make(dropout=0.3)
    head.grad_checkpointing = True
    arguments = inputs(head)
    start = parameters_to_vector(head.parameters()).detach()
    step = 1e-7 * torch.randn_like(start)

    def loss(parameters: Tensor) -> Tensor:
        vector_to_parameters(parameters, head.parameters())
        torch.manual_seed(1)
        return head(*arguments).square().sum()

    difference = (loss(start + step) - loss(start - step)).detach()
    gradients = torch.autograd.grad(loss(start), list(head.parameters()))
    slope = 2 * parameters_to_vector(gradients) @ step
    torch.testing.assert_close(slope, difference, rtol=1e-5, atol=0)


def test_recomputed_activations_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsl.models.decoder._HIDDEN_AT_ONCE", 3 * 24 * 10)
    head = make_words()
    head.grad_checkpointing = True

    def kept(labels: int) -> int:
        """Numbers that the graph of so many labels holds, beside label vectors and logits."""
        tokens, queries = inputs(head, labels=labels)
        held: dict[int, int] = {}

        def hold(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            held[storage.data_ptr()] = storage.nbytes() // tensor.itemsize
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
            logits = head(tokens, queries)
        held.pop(queries.untyped_storage().data_ptr(), None)
        assert logits.shape == (3, labels)
        return sum(held.values())

    assert kept(100) == kept(20)
    head.grad_checkpointing = False
    assert kept(100) > 3 * kept(20)


@all_modes
def test_nothing_is_recomputed_in_evaluation(
    make: Callable[[], MLDecoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def recomputed(decode: Callable[..., Tensor], *part: Tensor, **_: object) -> Tensor:
        calls.append("called")
        return decode(*part)

    monkeypatch.setattr("zsl.models.decoder.checkpoint", recomputed)
    head = make()
    head.grad_checkpointing = True
    arguments = inputs(head)
    head.eval()(*arguments).sum().backward()
    with torch.no_grad():
        head.train()(*arguments)
    assert not calls
    head(*arguments)
    assert calls


@all_modes
def test_dropout_acts_in_training_only(make: Callable[..., MLDecoder]) -> None:
    head = make(dropout=0.5)
    arguments = inputs(head)
    assert not torch.equal(head.train()(*arguments), head(*arguments))
    assert torch.equal(head.eval()(*arguments), head(*arguments))


@all_modes
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("training", [True, False])
def test_logits_are_float32_under_autocast(
    make: Callable[..., MLDecoder], dtype: torch.dtype, training: bool
) -> None:
    head = make(dropout=0.0).float().train(training)
    arguments = [tensor.float() for tensor in inputs(head, images=40, labels=50)]
    expected = head(*arguments)
    with torch.autocast("cpu", dtype), torch.set_grad_enabled(training):
        logits = head(*arguments)
    assert logits.dtype == torch.float32
    assert len(logits.unique()) > 0.95 * logits.numel()
    assert (logits - expected).abs().max() < 0.1 * expected.std()
    if training:
        logits.sum().backward()


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


@all_modes
@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_head_gives_the_same(
    make: Callable[..., MLDecoder], recompute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsl.models.decoder._HIDDEN_AT_ONCE", 3 * 24 * 20)
    head = make(dropout=0.0)
    head.grad_checkpointing = recompute
    arguments = inputs(head, labels=40)
    compiled = copy.deepcopy(head)
    compiled.compile(backend="aot_eager", fullgraph=True)
    for training in (True, False):
        head.train(training)
        compiled.train(training)
        with torch.set_grad_enabled(training):
            logits, expected = compiled(*arguments), head(*arguments)
        torch.testing.assert_close(logits, expected)
        if training:
            logits.sum().backward()
            expected.sum().backward()
    for ours, other in zip(head.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(other.grad, ours.grad)


@all_modes
def test_exported_head_takes_any_number_of_images_and_labels(make: Callable[[], MLDecoder]) -> None:
    head = make().eval()
    # PyTorch 2.6 wants an end.
    batch, labels = (torch.export.Dim(name, max=2**20) for name in ("batch", "labels"))
    arguments = inputs(head, images=3, labels=40)
    shapes = ({0: batch}, {0: labels})[: len(arguments)]
    program = torch.export.export(head, tuple(arguments), dynamic_shapes=shapes)
    for images, number in ((3, 40), (5, 77), (2, 9)):
        arguments = inputs(head, images=images, labels=number)
        torch.testing.assert_close(program.module()(*arguments), head(*arguments))


@word_modes
@pytest.mark.filterwarnings("ignore")  # Tracing is deprecated, and warns of the checks of shapes.
def test_traced_head_takes_any_number_of_images_and_labels(make: Callable[[], MLDecoder]) -> None:
    head = make().eval()
    traced = torch.jit.trace(head, inputs(head, images=3, labels=9))
    arguments = inputs(head, images=2, labels=77)
    torch.testing.assert_close(traced(*arguments), head(*arguments))


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
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_heads_of_other_precision_take_float32_vectors(
    make: Callable[[], MLDecoder], dtype: torch.dtype
) -> None:
    head = make().eval()
    tokens, *queries = inputs(head)
    expected = head(tokens, *queries)
    vectors = [query.float() for query in queries]
    logits = head.to(dtype)(tokens.to(dtype), *vectors)
    assert logits.dtype == dtype
    assert (logits - expected).abs().max() < 0.1 * expected.std()


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
