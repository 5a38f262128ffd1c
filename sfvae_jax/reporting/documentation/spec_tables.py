"""The specs of the library's tables as Markdown: objectives, posteriors and so on."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sfvae_jax.data.image_sources.tfds import TFDS
from sfvae_jax.data.source import IMAGE_OPTIONS, DataSource
from sfvae_jax.data.sources import SOURCES
from sfvae_jax.evaluation import EVALUATIONS, Evaluation
from sfvae_jax.evaluation.generation.sources import SOURCES as GENERATED_SOURCES
from sfvae_jax.likelihoods import LIKELIHOODS
from sfvae_jax.models import MODELS
from sfvae_jax.objectives import OBJECTIVES, ObjectiveInfo
from sfvae_jax.objectives.spec import NOISY_OPTIONS
from sfvae_jax.posteriors import POSTERIORS
from sfvae_jax.reporting.markdown import code, lines_of
from sfvae_jax.training.updates.optimizers import OPTIMIZERS

_DENSITIES = [name for name, spec in POSTERIORS.items() if spec.has_density]


def objectives() -> str:
    """Every objective: what it is, its function, and its papers."""
    rows = []
    for name, spec in OBJECTIVES.items():
        function = code(f"objectives.{spec.function}")
        if spec.of_sequences:
            taken = [LIKELIHOODS[likelihood] for likelihood in spec.likelihoods_in(LIKELIHOODS)]
            others = [traits for traits in taken if not traits.squared_error]
            of_images = any(not traits.of_sequences for traits in others)
            used_for = "other likelihoods than `gaussian`" if of_images else "sequences"
            function += f", for {used_for} {code(f'objectives.{spec.of_sequences}')}"
        rows.append([code(name), spec.summary, function, spec.source])
    return lines_of(("name in a config", "what it is", "function", "source"), rows) + "\n"


def combinations() -> str:
    """Every objective: whether it is a bound, what it costs, and what it can be combined with."""
    heads = (
        "objective",
        "lower bound of log p(x)",
        "draws noise",
        "decoder passes per example",
        "posteriors",
        "likelihoods",
    )
    rows = [
        [
            code(name),
            spec.bound,
            _noise(spec),
            spec.decoder_passes,
            _names(spec.posteriors_in(POSTERIORS), _DENSITIES),
            _names(spec.likelihoods_in(LIKELIHOODS), LIKELIHOODS),
        ]
        for name, spec in OBJECTIVES.items()
    ]
    return lines_of(heads, rows) + "\n"


def _noise(spec: ObjectiveInfo) -> str:
    if not spec.deterministic:
        return "yes"
    noisy = [option for option in NOISY_OPTIONS if option in spec.options]
    return f"with {' or '.join(noisy)}" if noisy else "no"


def posteriors() -> str:
    """Every family of posteriors, and what objectives may rely on."""
    rows = []
    for name, spec in POSTERIORS.items():
        density = "only at its own samples" if not spec.has_inverse else "yes"
        if not spec.exact_density:
            density = "no: an upper bound in expectation"
        closed_form = "no"
        if spec.closed_form_kl:
            closed_form = f"yes, of {'each dimension' if spec.kl_per_dimension else 'all together'}"
        properties = [density, closed_form, "yes" if spec.has_inverse else "no, it has no inverse"]
        rows.append([code(name), spec.summary, *(properties if spec.has_density else ["none"] * 3)])
    heads = ("name in a config", "what it is", "exact log density", "closed-form KL divergence")
    return lines_of((*heads, "takes `sticking_the_landing`"), rows) + "\n"


def likelihoods() -> str:
    """Every likelihood, and the examples that it takes."""
    rows = [
        [
            code(name),
            spec.summary,
            "sequences" if spec.of_sequences else "images",
            "8-bit " * spec.requires_bytes + "pixels in [0, 1]" * spec.in_unit_interval,
            "yes" if spec.activates_mean else "",
        ]
        for name, spec in LIKELIHOODS.items()
    ]
    heads = ("name in a config", "what it is", "examples", "requires")
    return lines_of((*heads, "takes `model.output_activation`"), rows) + "\n"


def models() -> str:
    """Every model: what it is, the examples that it takes, and the options of its own."""
    rows = [
        [
            code(name),
            spec.summary,
            spec.sizes,
            spec.batch_norm,
            ", ".join(code(f"model.{option}") for option in spec.options),
        ]
        for name, spec in MODELS.items()
    ]
    heads = ("name in a config", "what it is", "examples", "BatchNorm", "own options")
    return lines_of(heads, rows) + "\n"


def optimizers() -> str:
    """Every optimizer: what it does, its own defaults, and what its weight decay is."""
    heads = ("name in a config", "what it does", "options and their defaults", "weight decay")
    rows = []
    for name, spec in OPTIMIZERS.items():
        options = ", ".join(
            f"{code(f'train.{key}')} {str(value).lower()}" for key, value in spec.options.items()
        )
        decay = f"{'decoupled' if spec.decoupled else 'in the gradient'}, {spec.weight_decay:g}"
        rows.append([code(name), spec.summary, options, decay, spec.source])
    return lines_of((*heads, "source"), rows) + "\n"


def image_sources() -> str:
    """Every source of images: what it holds, its splits, and which examples it holds out."""
    return _sources(source for source in (*SOURCES.values(), TFDS) if source.kind is None)


def sequence_sources() -> str:
    """Every source of sequences: the same, and the options that it takes."""
    return _sources(source for source in SOURCES.values() if source.kind is not None)


def evaluations() -> str:
    """Every evaluation: its measures, what they are, their source, and the examples it is for."""
    heads = ("name in a config", "measures", "what is measured or drawn", "source", "examples")
    rows = [
        [code(name), _measures(spec) or "none", spec.summary, spec.source, _EXAMPLES[spec.examples]]
        for name, spec in EVALUATIONS.items()
    ]
    return lines_of(heads, rows) + "\n"


_EXAMPLES = {"images": "images", "sequences": "sequences", "both": "images, sequences"}
_SIGNS = {"more": " ↑", "less": " ↓", "": ""}


def _measures(spec: Evaluation) -> str:
    """Its measures: ↑ if more is better, ↓ if less is, ± for a standard error beside it."""
    names = {measure.name for measure in spec.measures}
    errors = {name + end: name for name in names for end in ("_standard_error", "_deviation")}
    with_error = {name for error, name in errors.items() if error in names}
    return ", ".join(
        code(measure.name) + _SIGNS[measure.better] + (" ±" if measure.name in with_error else "")
        for measure in spec.measures
        if measure.name not in errors
    )


def generated_images() -> str:
    """Every source of generated images: what they are, and the splits of the data that it reads."""
    rows = [
        [code(name), source.summary, ", ".join(source.splits) or "none"]
        for name, source in GENERATED_SOURCES.items()
    ]
    return lines_of(("source", "images", "splits it reads"), rows) + "\n"


def _sources(sources: Iterable[DataSource]) -> str:
    rows = [
        [
            code(source.usage) if source.name else "any other name",
            source.help,
            " x ".join(map(str, source.shape or ())),
            ", ".join(source.splits) or f"those of the {'files' if source.takes_path else 'set'}",
            f"a hash of {source.held_out_by}" if source.held_out_by else "a shuffle by `data.seed`",
            ", ".join(code(key) for key in source.options if key not in IMAGE_OPTIONS),
        ]
        for source in sources
    ]
    heads = (
        "`data.name`",
        "what it holds",
        "shape",
        "splits",
        "held-out examples follow",
        "own options",
    )
    columns = [column for column in zip(heads, *rows, strict=True) if any(column[1:])]
    lines = list(zip(*columns, strict=True))
    return lines_of(lines[0], lines[1:]) + "\n"


def _names(names: Collection[str], known: Collection[str]) -> str:
    """Names as a list; "any" for all of the known ones, and "any but" for all except one."""
    others = [name for name in known if name not in names]
    if not others:
        return "any"
    if len(names) > 2 and len(others) == 1:
        return f"any but {code(others[0])}"
    return ", ".join(map(code, names))
