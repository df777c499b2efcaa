"""What the log says at the start: who answers and what is missing, where the weights are, who may ask."""

from __future__ import annotations

import logging

from ..errors import VisionError
from ..services.model_care.care import ModelCare, ModelReport
from ..settings import Settings

log = logging.getLogger(__name__)


async def greet(settings: Settings, models: ModelCare, reader: str) -> None:
    """Log two lines; the address is logged where the service listens."""
    try:
        by_id = {report.status.spec.model_id: report for report in await models.reports()}
    except VisionError as error:
        log.warning("what is on the volumes is not known: %s", error.detail)
        return
    asked = next(report for report in by_id.values() if report.chosen_because)
    answers = (("/ocr", by_id[reader]), ("/analyze_image and chats", asked))
    log.info("; ".join(f"{route}: {_describe(report.status.spec.model_id, report)}" for route, report in answers))
    log.info("weights: %s; %s", settings.data.absolute(), _describe_keys(settings))


def _describe(model_id: str, report: ModelReport) -> str:
    if report.inventory.presence == "present":
        return model_id
    if report.misfit:
        return f"{model_id}, which does not fit here ({report.misfit})"
    return f"{model_id}, whose weights are {report.inventory.presence}: `llm-vision models download {model_id}`"


def _describe_keys(settings: Settings) -> str:
    users, admins = len(settings.api_keys), len(settings.admin_keys)
    if not users and not admins:
        return "no key is asked for"
    manage = f"{admins} of them may manage models" if admins else "each may manage models"
    return f"{users + admins} keys are accepted, {manage}"
