"""All static signals over one folder. Nothing of it runs; what is quoted from it is made safe to show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from pilotage import __version__
from pilotage.assess.folder import Folder
from pilotage.assess.model import Criterion, Finding, Observation
from pilotage.assess.reading import shown
from pilotage.assess.signals import (
    artefacts,
    container,
    governance,
    hardware,
    history,
    labels,
    licences,
    notebooks,
    packaging,
    personal,
    preparation,
    secrets,
    serving,
    training,
    unsafe,
)
from pilotage.assess.signals.llm import agents, answers, limits, prompts, quality, retrieval, versions
from pilotage.assess.signals.seen import Seen

__all__ = ["SIGNALS", "scan"]

SIGNALS: tuple[Callable[[Folder], Iterator[Seen]], ...] = (
    governance.declared,
    governance.data_present,
    governance.schema,
    governance.lineage,
    governance.protected_inputs,
    governance.model_card,
    personal.personal_data,
    licences.licence,
    licences.dependencies,
    history.history,
    history.repository,
    training.held_out,
    training.label_as_input,
    labels.labels_observed,
    training.seeded,
    training.fit_after_split,
    preparation.preparation,
    notebooks.order,
    packaging.pins,
    packaging.python,
    packaging.tests,
    packaging.ci,
    packaging.paths,
    hardware.hardware,
    packaging.complete,
    packaging.handover,
    container.container,
    serving.validated,
    serving.server,
    serving.access,
    serving.limits,
    serving.observable,
    serving.threshold,
    serving.upstream,
    unsafe.unsafe_calls,
    secrets.secrets,
    artefacts.artefact,
    prompts.instructions_apart,
    prompts.prompt_secrets,
    prompts.prompts_versioned,
    answers.output_handled,
    answers.conversation_logs,
    limits.answer_limit,
    limits.model_timeout,
    versions.pinned_model,
    limits.usage_metered,
    limits.callers_limited,
    retrieval.index_safe,
    retrieval.known_sources,
    retrieval.retrieval_rights,
    retrieval.grounded,
    agents.agent_confirmation,
    agents.agent_steps,
    quality.evaluation_set,
    quality.repeatable_evaluation,
    quality.guards,
    quality.data_masked,
)
"""Every static signal. Each reads the folder and yields what it saw; what it cannot judge it leaves unknown."""

_READING = 0.2
_MAX_MESSAGE = 300


def scan(
    folder: Folder,
    criteria: Mapping[str, Criterion],
    *,
    at: int,
    progress: Callable[[str, float], None] | None = None,
) -> list[Observation]:
    """What all signals saw; one that breaks on this folder is listed as skipped, and its criteria stay unknown.

    `at` is Unix microseconds, the only part that differs between two scans of the same files.
    """
    found: list[Observation] = []
    for number, signal in enumerate(SIGNALS):
        if progress:
            progress(f"reading: {signal.__name__.replace('_', ' ')}", _READING * number / len(SIGNALS))
        try:
            seen = list(signal(folder))
        except Exception as error:  # noqa: BLE001 - foreign files: one odd file must not end the assessment
            why = shown(f"{type(error).__name__}: {error}")
            folder.skipped.append(f"{signal.__name__}: could not read this folder ({why})")
            continue
        found += [
            Observation(
                criterion=item.criterion,
                grade=item.grade,
                level=item.level,
                summary=_short(item.summary),
                collector=f"pilotage {__version__} {signal.__name__}",
                collected=at,
                subject=folder.subject,
                figures=item.figures,
                findings=[_told(each, criteria[item.criterion]) for each in item.findings],
            )
            for item in seen
        ]
    return found


def _told(item: Finding, criterion: Criterion) -> Finding:
    """A finding with its risk and mend, safe to print."""
    return msgspec.structs.replace(
        item,
        file=shown(item.file),
        message=_short(item.message),
        risk=item.risk or criterion.risk,
        mend=item.mend or criterion.mend,
    )


def _short(text: str) -> str:
    text = shown(text)
    return text if len(text) <= _MAX_MESSAGE else text[:_MAX_MESSAGE] + "…"
