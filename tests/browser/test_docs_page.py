"""The page of the API as a newcomer tries it: open an operation, press Execute, change nothing."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

from conftest import Start

ON_PURPOSE = {"DELETE /api/delete": "409", "POST /models/delete": "409"}
"""What the example names is part of the installation, so it cannot be deleted."""
PATIENCE = 120_000  # milliseconds: the first request loads a model
LEAST_OPERATIONS = 30


def test_every_operation_works_as_it_stands(page: Page, start_service: Start) -> None:
    page.goto(f"{start_service({})}/docs")
    page.wait_for_selector(".opblock")
    operations = page.locator(".opblock")
    assert operations.count() > LEAST_OPERATIONS
    statuses = {}
    for number in range(operations.count()):
        operation = operations.nth(number)
        statuses[name_of(operation)] = execute(operation)
        operation.locator(".opblock-summary-control").click()  # what is open is drawn again and again
    assert not {name: status for name, status in statuses.items() if status != ON_PURPOSE.get(name, "200")}


def test_with_keys_the_page_opens_and_asks_for_one(page: Page, start_service: Start) -> None:
    page.goto(start_service({"VISION_API_KEYS": "sesame"}))
    page.wait_for_selector(".opblock")
    assert page.url.endswith("/docs"), "a browser is led from / to the page"
    version = page.locator(".opblock", has=page.locator('[data-path="/version"]'))
    assert execute(version) == "401"
    page.locator("button.authorize").first.click()
    dialog = page.locator(".auth-container", has_text="bearer")
    dialog.locator("input").fill("sesame")
    dialog.locator("button.authorize").click()
    page.locator("button.btn-done").first.click()
    version.locator("button.execute").click()
    expect(version.locator(".live-responses-table .response-col_status").nth(1)).to_contain_text("200")


def name_of(operation: Locator) -> str:
    method = operation.locator(".opblock-summary-method").inner_text()
    path = operation.locator("[data-path]").get_attribute("data-path")
    return f"{method} {path}"


def execute(operation: Locator) -> str:
    """Press the buttons; the status of the answer."""
    operation.locator(".opblock-summary-control").click()
    operation.locator("button.try-out__btn").click()
    for picture in operation.locator("input[type=file]").all():
        expect(picture).not_to_have_value("")
    operation.locator("button.execute").click()
    status = operation.locator(".live-responses-table .response-col_status").nth(1)
    status.wait_for(timeout=PATIENCE)
    return status.inner_text().split()[0]
