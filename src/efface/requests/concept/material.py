"""The prompts of a request, read and checked for one model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from accelerate import Accelerator

from efface.attacks.goals import Goal
from efface.data.batch import WordBank
from efface.data.prompts import spread
from efface.data.source import ConditionSource
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.model_folder import ModelInfo
from efface.diffusion.text.denoiser import TextDenoiser, as_text_denoiser
from efface.diffusion.text.prompts import check_prompts, load_readers, whole_prompts
from efface.evaluation.detection import check_detector
from efface.evaluation.networks import read_views
from efface.evaluation.protocol import Protocol
from efface.evaluation.references import Retained
from efface.evaluation.store import Store
from efface.evaluation.subjects import Job, Subjects
from efface.evaluation.views import View
from efface.memory.estimate import Amounts, forget_rows
from efface.metrics.judge import Judge
from efface.requests.base import Feed, Material
from efface.requests.concept.finding import ConceptGoal, Phrases, find_finders, require_finder
from efface.requests.concept.prompt_groups import PromptGroup, digest_groups, read_prompt_groups
from efface.requests.concept.prompts import (
    ConceptPrompts,
    Words,
    prompts_to_retain,
    read_concept_prompts,
    read_words,
    without_earlier,
)
from efface.requests.concept.protocol import ConceptProtocol
from efface.requests.concept.request import ForgetConcept
from efface.requests.concept.settings import ConceptSettings
from efface.settings.base import Settings


@dataclass(frozen=True, eq=False, kw_only=True)
class PromptMaterial(Material):
    """All prompts of a request; without any to forget, those of a model to distil."""

    prompts: ConceptPrompts
    config: ConceptSettings
    phrases: Phrases | None = None  # None: no phrase was replaced by another
    earlier: tuple[Phrases | None, ...] = ()  # those of earlier requests
    groups: tuple[PromptGroup, ...] = ()
    words: Words = ()  # for a method that edits them, each with its replacement

    goal_class: ClassVar[type[ConceptGoal]] = ConceptGoal

    @property
    def digest(self) -> str:
        return self.prompts.digest

    def compared_digest(self) -> str:
        return digest_groups(self.groups)

    @property
    def encoded(self) -> list[str]:
        """Every prompt that is trained on or measured, in the order in which they are encoded."""
        measured = [prompt for group in self.groups for prompt in group.prompts]
        words = [word for pair in self.words for word in pair]
        return [*self.prompts.different, *self.prompts.row_negatives, *measured, *words]

    def amounts(self, settings: Settings) -> Amounts:
        return Amounts(
            forget_rows=forget_rows(settings) if self.prompts.forget else 0,
            prompts=len(self.prompts.different),
            guided=frozenset({"teacher"} if self.prompts.row_negatives else ()),
        )

    def feed(
        self, denoiser: Denoiser, settings: Settings, run: Path, accelerator: Accelerator
    ) -> Feed:
        model = self.encode(as_text_denoiser(denoiser).to(accelerator.device))
        source = self.source(model, settings, accelerator.device)
        retained = source.table[torch.tensor(source.retain)]
        return Feed(denoiser=model, source=source, retained=retained, notes=self.prompts.notes())

    def encode(self, denoiser: TextDenoiser) -> TextDenoiser:
        """Encode all prompts and both null conditions, then give up the text encoders.

        The denoiser that is returned has the run's own null condition.
        """
        denoiser.encode(self.encoded)
        denoiser.prompts.null(None)
        return denoiser.with_negative_prompt(self.prompts.negative_prompt).without_encoders()

    def source(
        self, denoiser: TextDenoiser, settings: Settings, device: torch.device
    ) -> ConditionSource:
        """Rows of one table that all networks share."""
        prompts, config, train = self.prompts, self.config, settings.train
        different, negative = prompts.different, prompts.row_negatives
        row = {prompt: number for number, prompt in enumerate(different)}
        return ConditionSource(
            table=denoiser.encode(different).to(device),
            retain=[row[prompt] for prompt in prompts.retain],
            forget=[row[prompt] for prompt in prompts.forget],
            replacements=[[row[target]] for target in prompts.targets],
            retain_rows=train.batch_size,
            forget_rows=self.amounts(settings).forget_rows,
            seed=train.seed,
            interpolation=config.interpolation,
            null=denoiser.prompts.null(None).to(device),
            interpolation_null=config.interpolation_null,
            gibberish=[row[prompt] for prompt in prompts.gibberish],
            gibberish_rows=round(config.gibberish * train.batch_size) if prompts.gibberish else 0,
            negative=denoiser.encode(negative).to(device) if negative else None,
            gibberish_guidance=config.gibberish_guidance,
            forget_guidance=config.forget_guidance or 0.0,
            words=self.word_bank(denoiser) if self.words else None,
        )

    def word_bank(self, denoiser: TextDenoiser) -> WordBank:
        """The words to edit, and those that every retained prompt ends with."""
        forget, target = zip(*self.words, strict=True)
        states = denoiser.prompts.last_tokens
        return WordBank(
            forget=states(forget), target=states(target), retain=states(self.prompts.retain)
        )

    def protocol(self, job: Job) -> Protocol:
        return ConceptProtocol(
            views=job.views,
            config=job.settings.evaluate,
            prompts=self.prompts,
            phrases=self.phrases,
            earlier=self.earlier,
            groups=self.groups,
            group_samples=self.config.group_samples,
        )

    def retained(self, settings: Settings) -> Retained:
        return Retained(asked=self.prompts.retain, count=settings.evaluate.retain_samples)

    def finder(self, model: ModelInfo, settings: Settings, judge: str | Path | None) -> View:
        super().finder(model, settings, judge)
        config = settings.evaluate
        for phrases in (*self.earlier, self.phrases):
            require_finder(config, phrases)
        own = config.model_copy(update={"extractor": None, "reference": None})
        views = read_views(None, own, None, Accelerator().device, Store(None))
        return next(iter(find_finders(views, self.phrases).values()))

    def goal(
        self, run: Path, models: Subjects, settings: Settings, finder: Judge | View | None
    ) -> ConceptGoal:
        return self._goal(len(self.earlier), self.phrases, settings, finder)

    def goals(
        self, run: Path, models: Subjects, settings: Settings, finder: Judge | View | None
    ) -> Mapping[str, Goal]:
        """Of each concept, but for those that a later request names again."""
        if not self.earlier:
            return super().goals(run, models, settings, finder)
        return {
            f"concept {number + 1}": self._goal(number, phrases, settings, finder)
            for number, phrases in enumerate((*self.earlier, self.phrases))
            if self.prompts.of_request(number)
        }

    def _goal(
        self, number: int, phrases: Phrases | None, settings: Settings, finder: Judge | View | None
    ) -> ConceptGoal:
        assert isinstance(finder, View)  # `finder` found it
        forget = list(dict.fromkeys(self.prompts.of_request(number)))
        network = find_finders({"finder": finder}, phrases)["finder"]
        return ConceptGoal(
            sought=forget,
            conditions=forget,
            others=list(dict.fromkeys(self.prompts.retain)),
            guidance=settings.evaluate.set_guidance,
            finder=lambda images: network.scores(network(images)),
            threshold=network.threshold,
            called=network.measured_with,
        )


def read_concept(request: ForgetConcept, model: ModelInfo, settings: Settings) -> PromptMaterial:
    """Read all prompts of a request and its prompt groups, after all checks without weights."""
    config, readers = settings.of(ConceptSettings), load_readers(model)
    *earlier, phrases = (
        None
        if one.replacement is None
        else (one.concept, without_earlier(request, one.replacement))
        for one in request.together
    )
    material = PromptMaterial(
        prompts=read_concept_prompts(request, config, readers),
        config=config,
        phrases=phrases,
        earlier=tuple(earlier),
        groups=read_prompt_groups(config, settings.evaluate, phrases),
        words=read_words(request) if "words" in settings.method.needs else (),
    )
    negative = material.prompts.negative_prompt
    check_prompts([*material.encoded, *([] if negative is None else [negative])], readers)
    return material


def read_retained(
    source: str | None,
    count: int,
    model: ModelInfo,
    settings: Settings,
    column: str | None = None,
) -> PromptMaterial:
    """At most `count` prompts of a file or data set, or of templates, with nothing to forget."""
    check_detector(settings.evaluate)
    config = ConceptSettings()
    given = prompts_to_retain(source, config, column=column)
    whole = whole_prompts(given, load_readers(model))
    retain, long = tuple(spread(whole, count)), len(given) - len(whole)
    return PromptMaterial(prompts=ConceptPrompts(retain=retain, too_long=long), config=config)
